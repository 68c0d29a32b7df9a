#ifndef _WIN32

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/os.h"
#include "core/os_page_guard.h"
#include "core/os_read_ahead.h"

namespace moe::os {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

#ifdef __linux__
/// Whether a library ends before its last table, as a download that broke off does: dlopen would
/// touch pages that are not there, which ends the process.
bool is_cut_off(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header{};
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header)) return false;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return false;
  file.seekg(0, std::ios::end);
  const auto bytes = static_cast<uint64_t>(file.tellg());
  return header.e_shoff > bytes ||
         bytes - header.e_shoff < uint64_t{header.e_shnum} * header.e_shentsize;
}
#endif

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

/// cgroup v2 and v1 CPU quota in whole CPUs, or `fallback`.
int quota_cpus(int fallback) {
  double quota = -1, period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2) {
    std::string first;
    v2 >> first >> period;
    if (first != "max") quota = std::atof(first.c_str());
  } else {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (quota <= 0 || period <= 0) return fallback;
  return std::max(1, static_cast<int>(std::ceil(quota / period)));
}

}  // namespace

bool arm_dot_products() {
#if defined(__linux__) && defined(__aarch64__)
  return getauxval(AT_HWCAP) & 1u << 20;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
  return true;
#else
  return false;
#endif
}

int usable_cpus() {
  int cpus = std::max(1u, std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
#endif
  return std::min(cpus, quota_cpus(cpus));
}

std::byte* allocate_aligned(size_t bytes) {
  return static_cast<std::byte*>(std::aligned_alloc(kAlign, bytes));
}

void free_aligned(std::byte* memory) { std::free(memory); }

size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

/// At a huge page's boundary, so that all of it can be in huge pages.
std::byte* allocate_pages(size_t bytes) {
  void* base =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(base);
  const uintptr_t aligned = round_up(start, kHugePage);
  if (aligned > start) munmap(base, aligned - start);
  const uintptr_t rest = start + kHugePage - aligned;
  if (rest > 0) munmap(reinterpret_cast<void*>(aligned + bytes), rest);
  void* memory = reinterpret_cast<void*>(aligned);
#ifdef MADV_HUGEPAGE
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return static_cast<std::byte*>(memory);
}

void free_pages(std::byte* memory, size_t bytes) { munmap(memory, bytes); }

FileState file_state(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || access(path.c_str(), R_OK) != 0) return {};
  if (!S_ISREG(info.st_mode)) {
    errno = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    return {};
  }
#ifdef __APPLE__
  const timespec& modified = info.st_mtimespec;
#else
  const timespec& modified = info.st_mtim;
#endif
  return {info.st_size, int64_t{modified.tv_sec} * 1'000'000'000 + modified.tv_nsec,
          static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino)};
}

std::byte* map_files(const std::vector<std::string>& paths, const std::vector<size_t>& bytes,
                     std::atomic<bool>* lost) {
  size_t all = 0;
  for (const size_t size : bytes) all += size;
  // One range for all of them first, so that nothing else comes between.
  const size_t reserved = round_up(all ? all : 1, page_bytes());
  void* base = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  auto* at = static_cast<std::byte*>(base);
  for (size_t i = 0; i < paths.size(); at += bytes[i++]) {
    if (bytes[i] == 0) continue;
    const int fd = open(paths[i].c_str(), O_RDONLY | O_CLOEXEC);
    void* mapped =
        fd < 0 ? MAP_FAILED : mmap(at, bytes[i], PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    if (fd >= 0) close(fd);
    if (mapped != MAP_FAILED) continue;
    munmap(base, reserved);
    return nullptr;
  }
  guard_pages(base, reserved, lost);
  return static_cast<std::byte*>(base);
}

void unmap_files(std::byte* memory, size_t bytes) {
  unguard_pages(memory);
  munmap(memory, round_up(bytes ? bytes : 1, page_bytes()));
}

void release_mapped(const std::byte* memory, size_t bytes) {
  const uintptr_t page = page_bytes(), begin = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t first = round_up(begin, page), last = (begin + bytes) / page * page;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void read_ahead(const std::byte* memory, size_t bytes) {
  constexpr size_t kLooks = 8;
  const uintptr_t page = page_bytes(), begin = reinterpret_cast<uintptr_t>(memory) / page * page;
  const uintptr_t end = round_up(reinterpret_cast<uintptr_t>(memory) + bytes, page);
  if (bytes == 0) return;
  const size_t pages = (end - begin) / page;
  bool missing = false;
  for (size_t look = 0; look < std::min(kLooks, pages) && !missing; ++look) {
    const size_t at = look * (pages - 1) / std::max<size_t>(std::min(kLooks, pages) - 1, 1);
#ifdef __APPLE__
    char there = 0;
#else
    unsigned char there = 0;
#endif
    if (mincore(reinterpret_cast<void*>(begin + at * page), page, &there) != 0) return;
    missing = !(there & 1);
  }
  if (missing) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

std::string own_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void*>(&own_folder), &info) || !info.dli_fname) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

void* open_library(const std::string& path, std::string& why) {
#ifdef __linux__
  if (is_cut_off(path)) {
    why = path + ": must be a whole library, got one that is cut off";
    return nullptr;
  }
#endif
  if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) return library;
  const char* error = dlerror();
  why = access(path.c_str(), F_OK) == 0 && error ? error : "";
  return nullptr;
}

void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

std::string library_file(const std::string& name) {
#ifdef __APPLE__
  return "lib" + name + ".dylib";
#else
  return "lib" + name + ".so";
#endif
}

}  // namespace moe::os

#endif
