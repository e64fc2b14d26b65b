#include "backend/ascend/device.h"

#include <mutex>

#include "ernie_image/error.h"

namespace ernie_image::ascend {

namespace {

thread_local int bound_device = -1;

/// What a person can do about a code of AscendCL or aclnn; null for those that need the vendor's
/// words alone. Numbers: error code headers of CANN 8.1 to 9.1.
const char* advice_on(aclError status) {
  switch (status) {
    case 100039:
      return "a library of the toolkit's devlib folder, made for building only, was loaded: take "
             "devlib out of LD_LIBRARY_PATH";
    case 107001:
      return "that card does not exist here: `npu-smi info` lists what there is";
    case 207000:
    case 207001:
    case 207018:
      return "not enough memory: `npu-smi info` shows who uses the card; --offload layers, a "
             "smaller picture or fewer at a time need less";
    case 207004:
      return "no card can be seen: ASCEND_RT_VISIBLE_DEVICES must list existing cards in ascending "
             "order, each once, and `npu-smi info` must show them";
    case 207006:
      return "no permission: the user must belong to the driver's group (HwHiAiUser), and a "
             "container must be given /dev/davinci*, /dev/davinci_manager and /dev/hisi_hdc";
    case 507015:
    case 507035:
      return "a kernel failed on the card; run `ernie-image devices --verify ascend` and see "
             "~/ascend/log/debug";
    case 507033:
      return "the card could not be set up: it may be in use by an older driver or need a reset; "
             "see `npu-smi info` and the driver's log";
    case 507046:
    case 107020:
      return "the card did not answer in time: it may hang or be shared; see `npu-smi info`";
    case 507899:
      return "the driver reports an error: toolkit and driver must fit each other (the toolkit's "
             "release notes have the table)";
    case 561003:
    case 561107:
    case 561112:
      return "no kernel for this chip: install the kernels package of this chip in the same "
             "version "
             "as the toolkit, and run `source <toolkit>/set_env.sh`";
    default:
      return nullptr;
  }
}

}  // namespace

const Cann& initialized_cann() {
  const Cann& api = cann();
  if (!api.problem.empty()) throw Error(ErrorKind::not_found, "ascend: " + api.problem);
  static const aclError status = api.aclInit(nullptr);
  if (status != kAclRepeatInitialize) require(status, "aclInit");
  return api;
}

int device_count() {
  std::uint32_t count = 0;
  require(initialized_cann().aclrtGetDeviceCount(&count), "counting the cards");
  return static_cast<int>(count);
}

std::string cann_version() {
  static const std::string version = [] {
    const Cann& api = initialized_cann();
    aclCANNPackageVersion found{};
    const bool is_told = api.aclsysGetCANNVersion != nullptr &&
                         api.aclsysGetCANNVersion(ACL_PKG_NAME_CANN, &found) == 0;
    found.version[sizeof(found.version) - 1] = '\0';
    return std::string(is_told && found.version[0] != '\0' ? found.version : "unknown");
  }();
  return version;
}

std::string chip_name() {
  const char* const name = initialized_cann().aclrtGetSocName();
  return name == nullptr ? "unknown" : name;
}

ChipGeneration generation_of(const std::string& chip) {
  const std::string second = "Ascend910B";
  if (chip.starts_with("Ascend950") || chip.starts_with("Ascend910_95"))
    return ChipGeneration::third;
  if (chip.starts_with("Ascend910_93")) return ChipGeneration::second;
  if (chip.starts_with(second) && chip.size() > second.size() && chip[second.size()] >= '1' &&
      chip[second.size()] <= '9')
    return ChipGeneration::second;
  if (chip == second || chip == "Ascend910" || chip == "Ascend910A" ||
      chip.starts_with("Ascend910Pro") || chip.starts_with("Ascend910Premium"))
    return ChipGeneration::first;
  return ChipGeneration::other;
}

ChipGeneration chip_generation() {
  static const ChipGeneration generation = generation_of(chip_name());
  return generation;
}

std::vector<std::string> notes_on(const std::string& chip) {
  switch (generation_of(chip)) {
    case ChipGeneration::first:
      return {chip +
              " is of the first generation, not a 910B card, whose names have a digit after the B: "
              "it has no bf16, in which models are published, and is not supported"};
    case ChipGeneration::third:
      return {chip +
              " has no fused inference attention before V5: --ascend-attention auto is flash "
              "there, and lengths and mask fall back to it"};
    case ChipGeneration::other:
      return {"nothing is known of " + chip +
              ": this program was written for the 910B (A2); `ernie-image devices --verify ascend` "
              "says what works"};
    case ChipGeneration::second:
      break;
  }
  return {};
}

void require(aclError status, const std::string& attempted) {
  if (status == 0) return;
  // The message belongs to this thread and is gone once read.
  const char* const detail = cann().aclGetRecentErrMsg();
  std::string message = "ascend: " + attempted + " failed with " + std::to_string(status);
  if (detail != nullptr && *detail != '\0') message += ": " + std::string(detail);
  if (const char* advice = advice_on(status)) message += "; " + std::string(advice);
  throw Error(ErrorKind::device, message);
}

Device::Device(int index) : card::Device("ascend", index, kSpareBytes) {
  const Cann& api = initialized_cann();
  const int count = device_count();
  if (index < 0 || index >= count) {
    throw Error(ErrorKind::not_found, "there is no device ascend:" + std::to_string(index) +
                                          "; this machine has " + std::to_string(count));
  }
  require(api.aclrtSetDevice(index), "aclrtSetDevice " + std::to_string(index));
  bound_device = index;
}

/// Cheap for the thread that did it last: several cards may be served by one thread.
void Device::bind() const {
  if (bound_device == index()) return;
  require(cann().aclrtSetDevice(index()), "aclrtSetDevice " + std::to_string(index()));
  bound_device = index();
}

bool Device::try_bind() const noexcept {
  if (bound_device == index()) return true;
  if (cann().aclrtSetDevice(index()) != 0) return false;
  bound_device = index();
  return true;
}

Device::Memory Device::memory() const {
  Memory memory{};
  require(cann().aclrtGetMemInfo(ACL_HBM_MEM, &memory.free_bytes, &memory.total_bytes),
          "aclrtGetMemInfo");
  return memory;
}

void* Device::allocate(std::size_t bytes) const {
  void* memory = nullptr;
  const aclError status = cann().aclrtMalloc(&memory, bytes, ACL_MEM_MALLOC_HUGE_FIRST);
  return status == 0 ? memory : nullptr;
}

void Device::free(void* memory) const noexcept {
  if (try_bind()) cann().aclrtFree(memory);
}

void* Device::allocate_pinned(std::size_t bytes) const {
  void* memory = nullptr;
  require(cann().aclrtMallocHost(&memory, bytes),
          "aclrtMallocHost of " + std::to_string(bytes) + " bytes");
  return memory;
}

void Device::free_pinned(void* memory) const noexcept { cann().aclrtFreeHost(memory); }

card::Handle Device::make_queue() const {
  aclrtStream queue = nullptr;
  require(cann().aclrtCreateStream(&queue), "aclrtCreateStream");
  return queue;
}

void Device::destroy_queue(card::Handle queue) const noexcept {
  try_wait_for_queue(queue);
  cann().aclrtDestroyStream(queue);
}

void Device::wait_for_queue(card::Handle queue) const {
  require(cann().aclrtSynchronizeStream(queue), "waiting for the queue");
}

void Device::try_wait_for_queue(card::Handle queue) const noexcept {
  if (try_bind()) cann().aclrtSynchronizeStream(queue);
}

/// Only events with flags may be recorded again, which is what this program does with them.
card::Handle Device::make_event(bool timed) const {
  aclrtEvent event = nullptr;
  const std::uint32_t flags = kAclEventSync | (timed ? kAclEventTimeLine : 0);
  require(cann().aclrtCreateEventExWithFlag(&event, flags), "aclrtCreateEventExWithFlag");
  return event;
}

void Device::destroy_event(card::Handle event) const noexcept { cann().aclrtDestroyEvent(event); }

void Device::record_event(card::Handle event, card::Handle queue) const {
  require(cann().aclrtRecordEvent(event, queue), "aclrtRecordEvent");
}

void Device::hold_queue(card::Handle queue, card::Handle event) const {
  require(cann().aclrtStreamWaitEvent(queue, event), "aclrtStreamWaitEvent");
}

void Device::wait_for_event(card::Handle event) const {
  require(cann().aclrtSynchronizeEvent(event), "waiting for an event");
}

double Device::seconds_between(card::Handle begin, card::Handle end) const {
  float milliseconds = 0;
  require(cann().aclrtEventElapsedTime(&milliseconds, begin, end), "aclrtEventElapsedTime");
  return double{milliseconds} / 1000;
}

void Device::copy_in(std::byte* target, const std::byte* source, std::size_t bytes,
                     card::Handle queue) const {
  require(cann().aclrtMemcpyAsync(target, bytes, source, bytes, ACL_MEMCPY_HOST_TO_DEVICE, queue),
          "copying " + std::to_string(bytes) + " bytes to the device");
}

void Device::copy_out(std::byte* target, const std::byte* source, std::size_t bytes,
                      card::Handle queue) const {
  wait_for_queue(queue);  // aclrtMemcpy does not
  require(cann().aclrtMemcpy(target, bytes, source, bytes, ACL_MEMCPY_DEVICE_TO_HOST),
          "copying " + std::to_string(bytes) + " bytes from the device");
}

}  // namespace ernie_image::ascend
