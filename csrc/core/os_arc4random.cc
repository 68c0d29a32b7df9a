// glibc has arc4random since 2.36, and where the build machine's has it, the static libstdc++ asks
// for it. With one of our own, hidden by the version script, the binaries load from glibc 2.34 on.
#ifdef __linux__

#include <sys/random.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>

extern "C" uint32_t arc4random() noexcept {
  uint32_t word;
  ssize_t got;
  do got = getrandom(&word, sizeof word, 0);
  while (got < 0 && errno == EINTR);
  if (got != sizeof word) std::abort();  // std::random_device could only throw
  return word;
}

#endif
