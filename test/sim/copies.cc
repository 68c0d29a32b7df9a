#include "copies.h"

#include <cstring>
#include <stdexcept>

#include "block.h"

namespace moe::sim {
namespace {

/// A copy into shared memory must lie there; `aligned`: both addresses.
void check(const void* to, size_t bytes, size_t aligned, const void* from, const char* what) {
  Block& block = Block::current();
  const auto* at = static_cast<const unsigned char*>(to);
  if (reinterpret_cast<uintptr_t>(to) % aligned || reinterpret_cast<uintptr_t>(from) % 16)
    block.fail(std::string(what) + " needs " + std::to_string(aligned) + "-byte alignment");
  if (at < block.shared() || at + bytes > block.shared() + block.shared_bytes())
    block.fail(std::string(what) + " ends outside of shared memory");
}

std::vector<Copy>& open_group() {
  auto& copies = Block::current().self().copies;
  if (copies.empty()) copies.emplace_back();
  return copies.back();
}

void land(const Copy& copy) {
  std::memset(copy.to, 0, 16);
  std::memcpy(copy.to, copy.from, copy.bytes);
}

}  // namespace

void start_copy(void* to, const void* from, unsigned bytes) {
  check(to, 16, 16, from, "cp.async");
  if (bytes) touch(from, bytes, Access::read);
  auto& group = open_group();
  if (Block::current().schedule().late)
    group.push_back({to, from, bytes});
  else
    land({to, from, bytes});
}

void commit_copies() {
  open_group();
  Block::current().self().copies.emplace_back();
}

void wait_for_copies(int left) {
  auto& copies = Block::current().self().copies;
  while (static_cast<int>(copies.size()) - 1 > left) {
    for (const Copy& copy : copies.front()) land(copy);
    copies.pop_front();
  }
}

void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* bar) {
  check(to, bytes, 16, from, "a bulk copy");
  if (bytes % 16) Block::current().fail("a bulk copy needs 16-byte alignment");
  touch(from, bytes, Access::constant);
  Block& block = Block::current();
  block.later([=, state = &block.mbarrier(bar)] {
    std::memcpy(to, from, bytes);
    state->bytes -= bytes;
    state->settle();
  });
}

TensorMap encode_tensor_map(const void* base, int64_t rows, int64_t columns, int64_t stride_bytes,
                            int box_rows) {
  const int64_t most = int64_t{1} << 32;
  if (reinterpret_cast<uintptr_t>(base) % 16 || stride_bytes % 16 ||
      stride_bytes >= int64_t{1} << 40 || rows < 1 || rows > most || columns < 1 ||
      columns > most || box_rows < 1 || box_rows > 256)
    throw std::runtime_error("the driver refuses the tensor map");
  return {static_cast<const std::byte*>(base), rows, columns, stride_bytes, box_rows};
}

void tensor_copy(void* to, const TensorMap& map, int column, int row, uint64_t* bar) {
  check(to, size_t{128} * static_cast<size_t>(map.box_rows), 1024, nullptr,
        "a swizzled tensor copy");
  for (int r = row; r < row + map.box_rows; ++r)
    if (r >= 0 && r < map.rows && column < map.columns)
      touch(map.base + r * map.stride_bytes + 2 * column,
            static_cast<size_t>(2 * std::min<int64_t>(64, map.columns - column)), Access::read);
  Block& block = Block::current();
  // The map is the kernel's argument, which here ends with its thread.
  block.later([=, state = &block.mbarrier(bar)] {
    for (int r = 0; r < map.box_rows; ++r) {
      for (int c = 0; c < 64; ++c) {
        uint16_t value = 0;
        if (row + r < map.rows && column + c < map.columns)
          std::memcpy(&value, map.base + (row + r) * map.stride_bytes + 2 * (column + c), 2);
        auto* line = static_cast<std::byte*>(to) + 128 * r;
        std::memcpy(line + ((c / 8) ^ (r & 7)) * 16 + 2 * (c % 8), &value, 2);
      }
    }
    state->bytes -= int64_t{128} * map.box_rows;
    state->settle();
  });
}

}  // namespace moe::sim
