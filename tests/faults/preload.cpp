// Calls of the system that fail when a test says so, for LD_PRELOAD.
//
// In the folder $ERNIE_IMAGE_TEST_FAULTS a file named for a call makes it fail as long as the file
// is there:
//   accept4, pthread_create   the number of the error
//   new                      in all threads but the first, allocations by `new` of so many bytes or
//   more
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

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

bool is_first_thread() { return ::syscall(SYS_gettid) == ::getpid(); }

/// Small ones come true: nlohmann's json allocates in its destructor, which ends the process where
/// that fails.
bool new_fails(std::size_t size) {
  constexpr std::size_t kLeast = 512;
  if (size < kLeast || is_first_thread()) return false;
  const int from = fault_of("new");
  return from > 0 && size >= static_cast<std::size_t>(from);
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

void* operator new(std::size_t size) {
  void* const memory = new_fails(size) ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
