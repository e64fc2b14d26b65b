// Calls of the system that fail when a test says so, for LD_PRELOAD.
//
// In the folder $ERNIE_IMAGE_TEST_FAULTS a file named for a call makes it fail as long as the file
// is there:
//   accept4, pthread_create   the number of the error
//   clock                    no error: the wall clock is so many seconds ahead
//   new                      in all threads but the first, what the program's `new` asks of malloc,
//                            of so many bytes or more
//   new_one_in               of those one in so many, drawn by lot
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

/// The number in the call's file; 0 if there is none. Allocates nothing.
int fault_of(const char* call) {
  const char* const folder = std::getenv("ERNIE_IMAGE_TEST_FAULTS");
  if (folder == nullptr) return 0;
  char path[4096];
  std::snprintf(path, sizeof path, "%s/%s", folder, call);
  const int before = errno;
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  char text[16] = "";
  if (file >= 0) {
    (void)!::read(file, text, sizeof text - 1);
    ::close(file);
  }
  errno = before;
  return std::atoi(text);
}

template <typename Function>
Function* next(const char* call) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, call));
}

}  // namespace

extern "C" int accept4(int socket, sockaddr* address, socklen_t* size, int flags) {
  if (const int fault = fault_of("accept4")) {
    errno = fault;
    return -1;
  }
  static auto* const real = next<int(int, sockaddr*, socklen_t*, int)>("accept4");
  return real(socket, address, size, flags);
}

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) {
  if (const int fault = fault_of("pthread_create")) return fault;
  static auto* const real =
      next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  return real(thread, attributes, start, argument);
}

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static auto* const real = next<int(clockid_t, timespec*)>("clock_gettime");
  const int result = real(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += fault_of("clock");
  return result;
}

// A sanitizer has a malloc of its own, whose blocks are nobody else's.
#if !defined(ERNIE_IMAGE_SANITIZED)

namespace {

/// Where the program itself is loaded, beside its libraries.
struct Program {
  std::uintptr_t begin = 0, end = 0;

  Program() { ::dl_iterate_phdr(&Program::find, this); }

  static int find(dl_phdr_info* info, std::size_t, void* self) {
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& segment = info->dlpi_phdr[i];
      if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
      static_cast<Program*>(self)->begin = info->dlpi_addr + segment.p_vaddr;
      static_cast<Program*>(self)->end = info->dlpi_addr + segment.p_vaddr + segment.p_memsz;
    }
    return 1;  // the program comes first
  }
};

bool is_first_thread() { return ::syscall(SYS_gettid) == ::getpid(); }

bool is_drawn(int one_in) {
  static thread_local std::uint64_t state = static_cast<std::uint64_t>(::syscall(SYS_gettid));
  state = state * 6364136223846793005U + 1442695040888963407U;
  return one_in <= 1 || (state >> 33) % static_cast<std::uint64_t>(one_in) == 0;
}

bool new_fails(std::size_t size, const void* caller) {
  static const Program program;
  const auto at = reinterpret_cast<std::uintptr_t>(caller);
  if (at < program.begin || at >= program.end || is_first_thread()) return false;
  const int from = fault_of("new");
  return from > 0 && size >= static_cast<std::size_t>(from) && is_drawn(fault_of("new_one_in"));
}

}  // namespace

extern "C" void* __libc_malloc(std::size_t size);

extern "C" void* malloc(std::size_t size) {
  if (new_fails(size, __builtin_return_address(0))) return nullptr;
  return __libc_malloc(size);
}

#endif
