#include "weights/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/os.h"

namespace moe {
namespace {

os::FileState state_of(const std::string& path) {
  const os::FileState state = os::file_state(path);
  if (state.bytes < 0)
    fail(Code::checkpoint, path, ": file must be readable, got ", std::strerror(errno));
  return state;
}

void read_fully(const std::string& path, std::byte* into, size_t bytes) {
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(into), static_cast<std::streamsize>(bytes));
  const auto got = static_cast<size_t>(file.gcount());
  if (got != bytes) fail(Code::checkpoint, path, ": file must have ", bytes, " bytes, got ", got);
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::vector<std::string>& parts) {
  std::vector<size_t> sizes;
  bool whole_pages = true;
  std::shared_ptr<MappedFile> file(new MappedFile());
  for (const std::string& part : parts) {
    whole_pages &= file->bytes_ % os::page_bytes() == 0;  // every part but the last
    file->parts_.push_back({part, state_of(part)});
    sizes.push_back(static_cast<size_t>(file->parts_.back().state.bytes));
    file->bytes_ += sizes.back();
  }
  if (whole_pages) file->mapped_ = os::map_files(parts, sizes, &file->lost_);
  if (file->mapped_) return file;
  file->copy_.reserve(std::max<size_t>(file->bytes_, 1));
  size_t offset = 0;
  for (size_t i = 0; i < parts.size(); offset += sizes[i++])
    read_fully(parts[i], file->copy_.data() + offset, sizes[i]);
  return file;
}

MappedFile::~MappedFile() {
  if (mapped_) os::unmap_files(mapped_, bytes_);
}

void MappedFile::verify() const {
  if (!mapped_) return;
  for (const auto& [path, state] : parts_) {
    const os::FileState now = os::file_state(path);
    if (now.bytes >= 0 && now.same_file(state) && now != state)
      fail(Code::checkpoint, path, ": file must stay as it is while a model uses it, got ",
           now.bytes == state.bytes ? "other contents"
                                    : text(now.bytes, " bytes instead of ", state.bytes));
  }
  if (lost_)
    fail(Code::checkpoint, parts_[0].path, ": file must be readable, got a page that is not");
}

Tensor MappedFile::tensor(size_t offset, const Shape& shape, DType dtype) {
  Tensor tensor;
  tensor.slot = std::make_shared<Slot>();
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.row_stride = tensor.last();
  const size_t bytes = tensor.bytes();
  if (offset > bytes_ || bytes > bytes_ - offset)
    fail(Code::checkpoint, "file: tensor must end before byte ", bytes_, ", got ", offset, " + ",
         bytes);
  tensor.slot->external = data() + offset;
  tensor.slot->in_file = mapped_ != nullptr;
  tensor.slot->bytes = bytes;
  tensor.slot->owner = shared_from_this();
  return tensor;
}

}  // namespace moe
