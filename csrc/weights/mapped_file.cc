#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace moe {
namespace {

struct Descriptor {
  explicit Descriptor(const std::string& path) : fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd < 0) fail(Code::checkpoint, path, ": file must be readable, got ", std::strerror(errno));
  }
  ~Descriptor() { ::close(fd); }
  int fd;
};

size_t file_bytes(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0)
    fail(Code::checkpoint, path, ": file must be readable, got ", std::strerror(errno));
  return static_cast<size_t>(info.st_size);
}

void read_fully(const std::string& path, std::byte* into, size_t bytes) {
  Descriptor file(path);
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = ::read(file.fd, into + done, bytes - done);
    if (n <= 0) fail(Code::checkpoint, path, ": file must have ", bytes, " bytes, got ", done);
    done += static_cast<size_t>(n);
  }
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::vector<std::string>& parts) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<size_t> sizes;
  bool whole_pages = true;
  std::shared_ptr<MappedFile> file(new MappedFile());
  for (const std::string& part : parts) {
    whole_pages &= file->bytes_ % page == 0;  // every part but the last
    sizes.push_back(file_bytes(part));
    file->bytes_ += sizes.back();
  }
  file->reserved_ = std::max<size_t>((file->bytes_ + page - 1) / page * page, page);
  const int protection = whole_pages ? PROT_NONE : PROT_READ | PROT_WRITE;
  void* base = mmap(nullptr, file->reserved_, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    fail(Code::out_of_memory, parts[0], ": ", file->bytes_, " bytes could not be mapped");
  file->data_ = static_cast<std::byte*>(base);

  size_t offset = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::byte* at = file->data_ + offset;
    offset += sizes[i];
    if (sizes[i] == 0) continue;
    if (!whole_pages) {
      read_fully(parts[i], at, sizes[i]);
      continue;
    }
    Descriptor source(parts[i]);
    if (mmap(at, sizes[i], PROT_READ, MAP_PRIVATE | MAP_FIXED, source.fd, 0) == MAP_FAILED)
      fail(Code::checkpoint, parts[i], ": file must be mappable, got ", std::strerror(errno));
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, reserved_);
}

Tensor MappedFile::tensor(size_t offset, const Shape& shape, DType dtype) {
  const size_t bytes = tensor_bytes(shape, dtype, Layout::rows, nullptr);
  if (offset > bytes_ || bytes > bytes_ - offset)
    fail(Code::checkpoint, "file: tensor must end before byte ", bytes_, ", got ", offset, " + ",
         bytes);
  Tensor tensor;
  tensor.slot = std::make_shared<Slot>();
  tensor.slot->external = data_ + offset;
  tensor.slot->bytes = bytes;
  tensor.slot->owner = shared_from_this();
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.row_stride = tensor.last();
  return tensor;
}

}  // namespace moe
