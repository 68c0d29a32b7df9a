#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// What differs between operating systems: os_posix.cc, os_windows.cc.
namespace moe::os {

size_t page_bytes();
constexpr size_t kAlign = 64;

/// CPUs this process may use: affinity and quota, at least 1.
int usable_cpus();
/// On 64-bit ARM: the CPU has the int8 dot products of Armv8.2.
bool arm_dot_products();

/// Memory at a multiple of kAlign, whole units of it, not zeroed; null: there is none.
std::byte* allocate_aligned(size_t bytes);
void free_aligned(std::byte* memory);

/// Zeroed memory of whole huge pages, in huge pages where the system has them; null: there is none.
std::byte* allocate_pages(size_t bytes);
void free_pages(std::byte* memory, size_t bytes);

/// What tells one state of a file from another.
struct FileState {
  int64_t bytes = -1;  // -1: no regular file that can be read
  int64_t modified = 0;
  uint64_t device = 0, id = 0;
  bool operator==(const FileState&) const = default;
  bool same_file(const FileState& other) const { return device == other.device && id == other.id; }
};
FileState file_state(const std::string& path);

/// Files whose sizes but the last's are whole pages, read-only and side by side; null when the
/// system cannot do that. `bytes` of each. Where the system ends a process that reads a page which
/// its file has no more, such as after a truncation, that page and all behind it are zeros instead
/// and `*lost` becomes true; it lives until the files are unmapped.
std::byte* map_files(const std::vector<std::string>& paths, const std::vector<size_t>& bytes,
                     std::atomic<bool>* lost);
void unmap_files(std::byte* memory, size_t bytes);
/// The whole pages inside may leave the memory; they come back from the file.
void release_mapped(const std::byte* memory, size_t bytes);

/// The folder of this library.
std::string own_folder();
/// Stays loaded. Null with the reason in `why`, which is empty when there is no such file.
void* open_library(const std::string& path, std::string& why);
void* find_symbol(void* library, const char* name);
/// What a library of this name is called, such as lib*.so.
std::string library_file(const std::string& name);

}  // namespace moe::os
