#include "weights/weight.h"

#include "core/os.h"
#include "weights/format.h"
#include "weights/mapped_file.h"

namespace moe {

Weight make_weight(int64_t n, int64_t k, WeightFormat format, bool gate_up,
                   std::shared_ptr<Device> device) {
  if (gate_up && n % 2) fail(Code::shape, "weight: N must be even for gate_up, got ", n);
  Weight weight{std::make_shared<Slot>(), format, gate_up, n, k};
  weight.slot->bytes = packing_of(weight, device.get()).panel_bytes(k) *
                       static_cast<size_t>(PanelGrid(n, gate_up).panels);
  weight.slot->buffer = std::make_shared<Buffer>(0, std::move(device));
  return weight;
}

void pin_weight(const Weight& weight) {
  Slot& slot = *weight.slot;
  if (!slot.device() || slot.data())
    fail(Code::device, "weight: must be of a GPU and empty to be pinned");
  slot.buffer = std::make_shared<Buffer>(0, slot.buffer->device(), true);
}

void map_weight(const Weight& weight, std::shared_ptr<MappedFile> file, int64_t offset) {
  Slot& slot = *weight.slot;
  if (slot.device() || slot.data())
    fail(Code::device, "weight: must be on the host and empty to be mapped");
  if (offset < 0 || offset % static_cast<int64_t>(os::kAlign))
    fail(Code::checkpoint, "weight: bytes must begin at a multiple of ", os::kAlign, ", got ",
         offset);
  const Tensor bytes =
      file->tensor(static_cast<size_t>(offset), {static_cast<int64_t>(slot.bytes)}, DType::u8);
  slot.external = bytes.slot->external;
  slot.in_file = bytes.slot->in_file;
  slot.owner = bytes.slot->owner;
}

void add_access(std::vector<Access>& accesses, const Weight& weight, bool) {
  if (!weight) return;
  Tensor memory;
  memory.slot = weight.slot;
  accesses.push_back({memory, false});
}

void add_access(std::vector<Access>& accesses, const std::vector<Weight>& weights, bool writes) {
  for (const Weight& weight : weights) add_access(accesses, weight, writes);
}

Tensor elements_of(const Weight& weight) {
  const Format& format = format_of(weight.format);
  if (!format.element)
    fail(Code::unsupported, "weight: format must be one of plain elements, got ", format.name);
  Tensor tensor;
  tensor.slot = weight.slot;
  tensor.dtype = *format.element;
  tensor.shape = {static_cast<int64_t>(weight.bytes() / dtype_bytes(tensor.dtype))};
  tensor.row_stride = tensor.last();
  return tensor;
}

}  // namespace moe
