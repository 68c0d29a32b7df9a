#pragma once

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

/// Memory at a multiple of kAlign, whole units of it, not zeroed; null: there is none.
std::byte* allocate_aligned(size_t bytes);
void free_aligned(std::byte* memory);

/// Zeroed memory of whole huge pages, in huge pages where the system has them; null: there is none.
std::byte* allocate_pages(size_t bytes);
void free_pages(std::byte* memory, size_t bytes);

/// Bytes of a file; -1 when it cannot be read.
int64_t file_bytes(const std::string& path);

/// Files whose sizes but the last's are whole pages, read-only and side by side; null when the
/// system cannot do that. `bytes` of each.
std::byte* map_files(const std::vector<std::string>& paths, const std::vector<size_t>& bytes);
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
