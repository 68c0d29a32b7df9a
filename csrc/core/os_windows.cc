#ifdef _WIN32

#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <malloc.h>
#include <windows.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <thread>

#include "core/os.h"
#include "core/os_read_ahead.h"

namespace moe::os {
namespace {

/// Node gives paths as UTF-8.
std::wstring wide(const std::string& text) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, nullptr, 0);
  std::wstring result(static_cast<size_t>(length > 0 ? length : 1), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, result.data(), length);
  result.pop_back();
  return result;
}

std::string narrow(const std::wstring& text) {
  const int length =
      WideCharToMultiByte(CP_UTF8, 0, text.c_str(), -1, nullptr, 0, nullptr, nullptr);
  std::string result(static_cast<size_t>(length > 0 ? length : 1), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text.c_str(), -1, result.data(), length, nullptr, nullptr);
  result.pop_back();
  return result;
}

HANDLE open_file(const std::string& path) {
  return CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                     OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
}

HMODULE own_module() {
  HMODULE module = nullptr;
  // Pinned: our threads go on when the last worker that loaded the addon ends.
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCWSTR>(&own_module), &module);
  return module;
}
const HMODULE pinned = own_module();

}  // namespace

size_t page_bytes() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwAllocationGranularity;  // what views must begin at
}

bool arm_dot_products() { return false; }

int usable_cpus() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

std::byte* allocate_aligned(size_t bytes) {
  return static_cast<std::byte*>(_aligned_malloc(bytes, kAlign));
}

void free_aligned(std::byte* memory) { _aligned_free(memory); }

std::byte* allocate_pages(size_t bytes) {
  return static_cast<std::byte*>(
      VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

void free_pages(std::byte* memory, size_t) { VirtualFree(memory, 0, MEM_RELEASE); }

FileState file_state(const std::string& path) {
  const HANDLE file = open_file(path);
  if (file == INVALID_HANDLE_VALUE) {
    errno = GetLastError() == ERROR_ACCESS_DENIED ? EACCES : ENOENT;
    return {};
  }
  BY_HANDLE_FILE_INFORMATION info;
  const bool known = GetFileType(file) == FILE_TYPE_DISK && GetFileInformationByHandle(file, &info);
  CloseHandle(file);
  if (!known) {
    errno = EINVAL;
    return {};
  }
  const auto joined = [](DWORD high, DWORD low) { return uint64_t{high} << 32 | low; };
  return {static_cast<int64_t>(joined(info.nFileSizeHigh, info.nFileSizeLow)),
          static_cast<int64_t>(
              joined(info.ftLastWriteTime.dwHighDateTime, info.ftLastWriteTime.dwLowDateTime)),
          info.dwVolumeSerialNumber, joined(info.nFileIndexHigh, info.nFileIndexLow)};
}

/// One file only: views cannot be put side by side before Windows 10 1803. A mapped file cannot be
/// truncated here; a network drive that goes away still ends the process.
std::byte* map_files(const std::vector<std::string>& paths, const std::vector<size_t>& bytes,
                     std::atomic<bool>*) {
  if (paths.size() != 1 || bytes[0] == 0) return nullptr;
  const HANDLE file = open_file(paths[0]);
  if (file == INVALID_HANDLE_VALUE) return nullptr;
  const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  CloseHandle(file);
  if (!mapping) return nullptr;
  void* view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  CloseHandle(mapping);  // the view keeps it
  return static_cast<std::byte*>(view);
}

void unmap_files(std::byte* memory, size_t) { UnmapViewOfFile(memory); }

void release_mapped(const std::byte* memory, size_t bytes) {
  // Unlocking what is not locked takes it out of the working set.
  VirtualUnlock(const_cast<std::byte*>(memory), bytes);
}

void read_ahead(const std::byte*, size_t) {}  // nothing says what is in memory

std::string own_folder() {
  std::wstring path(MAX_PATH, L'\0');
  for (;;) {
    const DWORD length = GetModuleFileNameW(pinned, path.data(), static_cast<DWORD>(path.size()));
    if (length < path.size()) {
      path.resize(length);
      break;
    }
    path.resize(2 * path.size());
  }
  const size_t slash = path.find_last_of(L"\\/");
  return slash == std::wstring::npos ? "." : narrow(path.substr(0, slash));
}

void* open_library(const std::string& path, std::string& why) {
  if (const HMODULE library = LoadLibraryW(wide(path).c_str()))
    return reinterpret_cast<void*>(library);
  const DWORD error = GetLastError();
  why = error == ERROR_MOD_NOT_FOUND || error == ERROR_FILE_NOT_FOUND
            ? ""
            : "error " + std::to_string(error);
  return nullptr;
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}

std::string library_file(const std::string& name) { return name + ".dll"; }

}  // namespace moe::os

#endif
