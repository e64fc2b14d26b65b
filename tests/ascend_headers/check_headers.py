"""ERNIE_IMAGE_CANN_HEADERS: compiles src/backend/ascend/check_headers.cpp against a small tree of headers.

The tree is written here from the documented signatures, independently of the backend's own declarations: it proves
that the option compiles, that both agree, and that a signature which differs is refused. The toolkit's real headers are
not part of the project, and the check has never been compiled against them.

    check_headers.py COMPILER SOURCE_DIR
    check_headers.py --write DIR        only the tree, for cmake -DERNIE_IMAGE_CANN_HEADERS=DIR
"""

import pathlib
import subprocess
import sys
import tempfile

# Written out: T const aclTensor*, O aclTensor*, L const aclTensorList*, A const aclIntArray*, S const aclScalar*, i int64_t.
WORDS = {"T": "const aclTensor *", "O": "aclTensor *", "L": "const aclTensorList *", "A": "const aclIntArray *",
         "S": "const aclScalar *", "i": "int64_t", "d": "double", "b": "bool", "m": "int8_t", "t": "const aclDataType",
         "c": "char *"}

RUNTIME = """#pragma once
#include <cstddef>
#include <cstdint>
typedef int aclError;
typedef void* aclrtStream;
typedef void* aclrtEvent;
typedef enum {
  ACL_FLOAT = 0,
  ACL_FLOAT16 = 1,
  ACL_INT8 = 2,
  ACL_INT64 = 9,
  ACL_BOOL = 12,
  ACL_BF16 = 27
} aclDataType;
typedef enum { ACL_FORMAT_NCHW = 0, ACL_FORMAT_ND = 2, ACL_FORMAT_NCDHW = 30, ACL_FORMAT_NCL = 47 } aclFormat;
typedef enum aclrtMemcpyKind {
  ACL_MEMCPY_HOST_TO_HOST,
  ACL_MEMCPY_HOST_TO_DEVICE,
  ACL_MEMCPY_DEVICE_TO_HOST,
  ACL_MEMCPY_DEVICE_TO_DEVICE
} aclrtMemcpyKind;
typedef enum aclrtMemMallocPolicy { ACL_MEM_MALLOC_HUGE_FIRST } aclrtMemMallocPolicy;
typedef enum aclrtMemAttr { ACL_DDR_MEM, ACL_HBM_MEM } aclrtMemAttr;
typedef enum aclCANNPackageName { ACL_PKG_NAME_CANN, ACL_PKG_NAME_RUNTIME } aclCANNPackageName;
typedef struct aclCANNPackageVersion {
  char version[128];
  char majorVersion[64];
  char minorVersion[64];
  char releaseVersion[64];
  char patchVersion[64];
  char reserved[128];
} aclCANNPackageVersion;
extern "C" {
aclError aclInit(const char* configPath);
const char* aclGetRecentErrMsg();
const char* aclrtGetSocName();
aclError aclrtGetDeviceCount(uint32_t* count);
aclError aclrtSetDevice(int32_t deviceId);
aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t* free, size_t* total);
aclError aclrtCreateStream(aclrtStream* stream);
aclError aclrtDestroyStream(aclrtStream stream);
aclError aclrtSynchronizeStream(aclrtStream stream);
aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag);
aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion* version);
aclError aclrtDestroyEvent(aclrtEvent event);
aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream);
aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event);
aclError aclrtSynchronizeEvent(aclrtEvent event);
aclError aclrtEventElapsedTime(float* ms, aclrtEvent startEvent, aclrtEvent endEvent);
aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
aclError aclrtFree(void* devPtr);
aclError aclrtMallocHost(void** hostPtr, size_t size);
aclError aclrtFreeHost(void* hostPtr);
aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count,
                     aclrtMemcpyKind kind);
aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count,
                          aclrtMemcpyKind kind, aclrtStream stream);
}
"""

OBJECTS = """#pragma once
#include "acl/acl.h"
struct aclTensor;
struct aclTensorList;
struct aclScalar;
struct aclIntArray;
struct aclOpExecutor;
typedef int32_t aclnnStatus;
extern "C" {
aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType dataType,
                           const int64_t* stride, int64_t offset, aclFormat format,
                           const int64_t* storageDims, uint64_t storageDimsNum, void* tensorData);
aclScalar* aclCreateScalar(void* value, aclDataType dataType);
aclIntArray* aclCreateIntArray(const int64_t* value, uint64_t size);
aclTensorList* aclCreateTensorList(const aclTensor* const* value, uint64_t size);
aclnnStatus aclDestroyTensor(const aclTensor* tensor);
aclnnStatus aclDestroyScalar(const aclScalar* scalar);
aclnnStatus aclDestroyIntArray(const aclIntArray* array);
aclnnStatus aclDestroyTensorList(const aclTensorList* array);
}
"""

GROUPS = """#pragma once
#include "acl/acl.h"
typedef enum { HCCL_SUCCESS = 0, HCCL_E_PARA = 1 } HcclResult;
typedef enum { HCCL_DATA_TYPE_FP32 = 4, HCCL_DATA_TYPE_BFP16 = 11 } HcclDataType;
typedef enum { HCCL_REDUCE_SUM = 0, HCCL_REDUCE_MAX = 2 } HcclReduceOp;
typedef void *HcclComm;
extern "C" {
HcclResult HcclCommInitAll(uint32_t ndev, int32_t *devices, HcclComm *comms);
HcclResult HcclCommDestroy(HcclComm comm);
HcclResult HcclAlltoAll(const void *sendBuf, uint64_t sendCount, HcclDataType sendType, const void *recvBuf,
                        uint64_t recvCount, HcclDataType recvType, HcclComm comm, aclrtStream stream);
HcclResult HcclAllGather(void *sendBuf, void *recvBuf, uint64_t sendCount, HcclDataType dataType, HcclComm comm,
                         aclrtStream stream);
HcclResult HcclAllReduce(void *sendBuf, void *recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                         HcclComm comm, aclrtStream stream);
const char *HcclGetErrorString(HcclResult code);
}
"""

FUSED_HEAD = "T L L T T A A" + 14 * " T" + " T T A"
FUSED_TAIL = "i d i i c i i i i i b i i T T"

# Header of aclnnop/ -> operation -> parameters of its first phase, but for the two results.
OPERATIONS = {
    "add": {"Add": "T T S O", "Adds": "T S S O"},
    "addcmul": {"Addcmul": "T T T S O"},
    "batch_matmul": {"BatchMatMul": "T T O m"},
    "cast": {"Cast": "T t O"},
    "convolution": {"Convolution": "T T T A A A b A i O m"},
    "copy": {"InplaceCopy": "O T"},
    "dynamic_quant": {"DynamicQuant": "T T T T"},
    "fill_scalar": {"InplaceFillScalar": "O S"},
    "flash_attention_score": {"FlashAttentionScore": "T T T T T T T A d d i i i c i i T T T T"},
    "fused_infer_attention_score_v2": {"FusedInferAttentionScoreV2": f"{FUSED_HEAD} {FUSED_TAIL}"},
    "fused_infer_attention_score_v3": {"FusedInferAttentionScoreV3": f"{FUSED_HEAD} T T T {FUSED_TAIL}"},
    "gelu_v2": {"GeluV2": "T i O"},
    "group_norm": {"GroupNorm": "T T T i i i i d O O O"},
    "group_norm_silu": {"GroupNormSiluV2": "T T T i d b O O O"},
    "layer_norm": {"LayerNorm": "T A T T d O O O"},
    "masked_fill_scalar": {"InplaceMaskedFillScalar": "O T S"},
    "mm": {"Mm": "T T O m"},
    "mul": {"Mul": "T T O", "Muls": "T S O"},
    "permute": {"Permute": "T A O"},
    "quant_matmul_v3": {"QuantMatmulV3": "T T T T T b b T"},
    "quant_matmul_v4": {"QuantMatmulV4": "T T T T T T b b T"},
    "quant_matmul_v5": {"QuantMatmulV5": "T T T T T T T T T b b i O"},
    "quant_matmul_weight_nz": {"QuantMatmulWeightNz": "T T T T T T T T T b b i O"},
    "rms_norm": {"RmsNorm": "T T d T T"},
    "silu": {"Silu": "T O"},
    "softmax": {"Softmax": "T i O"},
    "sub": {"Sub": "T T S O"},
    "upsample_nearest_2d": {"UpsampleNearest2d": "T A O"},
}


def declarations(operations):
    lines = ["#pragma once", '#include "aclnn/acl_meta.h"', 'extern "C" {']
    for name, parameters in operations.items():
        types = ", ".join(WORDS[word] for word in parameters.split())
        lines.append(f"aclnnStatus aclnn{name}GetWorkspaceSize({types}, uint64_t *workspaceSize, aclOpExecutor **executor);")
        lines.append(f"aclnnStatus aclnn{name}(void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);")
    return "\n".join(lines + ["}", ""])


def write_tree(folder, operations):
    files = {"acl/acl.h": RUNTIME, "aclnn/acl_meta.h": OBJECTS, "hccl/hccl.h": GROUPS}
    files |= {f"aclnnop/aclnn_{header}.h": declarations(entries) for header, entries in operations.items()}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def compile_check(compiler, source, tree):
    command = [compiler, "-std=c++20", "-fsyntax-only", "-DERNIE_IMAGE_CANN_HEADERS", f"-I{source}/src",
               f"-isystem{tree}", f"-isystem{tree}/aclnn", f"{source}/src/backend/ascend/check_headers.cpp"]
    return subprocess.run(command, capture_output=True, text=True)


def main(compiler, source):
    with tempfile.TemporaryDirectory() as name:
        tree = pathlib.Path(name)
        write_tree(tree, OPERATIONS)
        right = compile_check(compiler, source, tree)
        if right.returncode != 0:
            sys.exit("the declarations differ:\n" + right.stderr)
        write_tree(tree, OPERATIONS | {"mm": {"Mm": "T T O i"}})
        wrong = compile_check(compiler, source, tree)
        if wrong.returncode == 0 or "aclnnMmGetWorkspaceSize" not in wrong.stderr:
            sys.exit("a signature that differs was not noticed:\n" + wrong.stderr)
        write_tree(tree, OPERATIONS)
        runtime = tree / "acl/acl.h"
        runtime.write_text(RUNTIME.replace("ACL_BF16 = 27", "ACL_BF16 = 28"))
        wrong = compile_check(compiler, source, tree)
        if wrong.returncode == 0 or "ACL_BF16" not in wrong.stderr:
            sys.exit("a number that differs was not noticed:\n" + wrong.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write_tree(pathlib.Path(sys.argv[2]), OPERATIONS)
    else:
        main(*sys.argv[1:])
