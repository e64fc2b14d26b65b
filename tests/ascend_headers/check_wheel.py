"""The declarations of src/backend/ascend against what the Python package torch-npu carries of CANN.

    check_wheel.py COMPILER SOURCE_DIR WHEEL_FOLDER

The package has the vendor's acl/ and hccl/ headers (runtime functions, groups of cards, every enumerator), pointer types of the functions that make and
destroy objects, and, as text in its library, the name of every aclnn operation that it calls. No package has the headers of
operations: their parameters are compared by check_headers.py alone. WHEEL_FOLDER keeps what was downloaded; without
it and without a network the test is skipped (77).
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "torch-npu==2.14.0"
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_28_aarch64"]
HEADERS = "torch_npu/include/third_party/acl/inc/acl/"
GROUPS = "torch_npu/include/third_party/hccl/inc/hccl/"
OBJECTS = "torch_npu/include/third_party/op-plugin/op_plugin/utils/op_api_common_base.h"
LIBRARY = "torch_npu/lib/libtorch_npu.so"
# What we call and torch_npu does not: V3 and V4 of the quantised product are for older releases of CANN, it wants V5.
ONLY_OURS = {"GroupNormSiluV2", "Permute", "QuantMatmulV3", "QuantMatmulV4"}
SKIPPED = 77

OPAQUE = ["aclTensor", "aclTensorList", "aclScalar", "aclScalarList", "aclIntArray", "aclFloatArray", "aclBoolArray", "aclOpExecutor"]

CHECK = """#include "objects.h"
#include <type_traits>
#include "backend/ascend/hccl.h"
#include "backend/ascend/symbols.h"
namespace ernie_image::ascend {
#define CHECK(name, value) static_assert(int(::name) == value, #name);
ERNIE_IMAGE_ACL_NUMBERS(CHECK)
ERNIE_IMAGE_HCCL_NUMBERS(CHECK)
#undef CHECK
#define CHECK(result, name, parameters) static_assert(std::is_same_v<decltype(&::name), decltype(Hccl::name)>, #name);
ERNIE_IMAGE_HCCL(CHECK)
#undef CHECK
#define CHECK(result, name, parameters) static_assert(std::is_same_v<decltype(&::name), decltype(Cann::name)>, #name);
ERNIE_IMAGE_ACL_RUNTIME(CHECK)
ERNIE_IMAGE_ACL_RUNTIME_OPTIONAL(CHECK)
#undef CHECK
#define CHECK(result, name, parameters) static_assert(std::is_same_v<::_##name, decltype(Cann::name)>, #name);
ERNIE_IMAGE_ACLNN_OBJECTS(CHECK)
#undef CHECK
static_assert(sizeof(::aclCANNPackageVersion) == 512);
static_assert(kAclEventSync == ACL_EVENT_SYNC && kAclEventTimeLine == ACL_EVENT_TIME_LINE);
static_assert(kAclRepeatInitialize == ACL_ERROR_REPEAT_INITIALIZE, "kAclRepeatInitialize");
}
"""


def fetch(folder, platform):
    """The wheel of that platform, or None where nothing can be downloaded."""
    def kept():
        return next(folder.glob(f"torch_npu-*{platform}.whl"), None)

    if kept() is None:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--only-binary=:all:", "--python-version", "3.11", "--platform", platform, "--dest", folder, PACKAGE])
    return kept()


def write_tree(wheel, tree):
    for member in wheel.namelist():
        if member.startswith(HEADERS) and member.endswith(".h"):
            path = tree / "acl" / member[len(HEADERS):]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wheel.read(member))
        if member.startswith(GROUPS) and member.endswith(("/hccl.h", "/hccl_types.h")):
            for path in (tree / "hccl" / member[len(GROUPS):], tree / "third_party/hccl/inc/hccl" / member[len(GROUPS):]):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(member))
    pointers = re.findall(r"typedef[^;]*\(\*_acl\w+\)[^;]*;", wheel.read(OBJECTS).decode())
    lines = ["#pragma once", '#include "acl/acl.h"'] + [f"struct {name};" for name in OPAQUE] + pointers
    (tree / "objects.h").write_text("\n".join(lines) + "\n")
    (tree / "aclnn").mkdir()
    (tree / "aclnn/acl_meta.h").write_text("#pragma once\n")
    (tree / "check.cpp").write_text(CHECK)


def compile_check(compiler, source, tree):
    return subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-DERNIE_IMAGE_CANN_HEADERS", f"-I{source}/src",
                           f"-I{source}/include", f"-isystem{tree}", str(tree / "check.cpp")], capture_output=True, text=True)


def operations_of(source):
    text = (source / "src/backend/ascend/acl_functions.h").read_text()
    return re.findall(r"^  X\((\w+),", text[text.index("ERNIE_IMAGE_ACLNN_OPTIONAL"):], re.M)


def check(compiler, source, path):
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(path) as wheel:
        tree = pathlib.Path(name)
        write_tree(wheel, tree)
        right = compile_check(compiler, source, tree)
        if right.returncode != 0:
            sys.exit(f"declarations differ from the headers of {path.name}:\n{right.stderr}")
        header = next(file for file in (tree / "acl").rglob("*.h") if "ACL_BF16 = 27" in file.read_text())
        header.write_text(header.read_text().replace("ACL_BF16 = 27", "ACL_BF16 = 28"))
        if compile_check(compiler, source, tree).returncode == 0:
            sys.exit("a number that differs was not noticed")
        operations = operations_of(source)
        library = wheel.read(LIBRARY)
    unknown = {name for name in operations if b"aclnn" + name.encode() + b"\0" not in library}
    print(f"{path.name}: declarations and numbers equal; {len(operations)} operations, "
          f"not called by it: {', '.join(sorted(unknown)) or 'none'}")
    if not operations or unknown - ONLY_OURS:
        sys.exit(f"operations that {path.name} does not know: {unknown - ONLY_OURS}")


def main(compiler, source, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    for platform in PLATFORMS:
        path = fetch(folder, platform)
        if path is None:
            print(f"skipped: {PACKAGE} for {platform} could not be downloaded")
            sys.exit(SKIPPED)
        check(compiler, pathlib.Path(source), path)


main(*sys.argv[1:])
