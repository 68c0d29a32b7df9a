#include "binding/weights.h"

#include <cstring>

#include "core/context.h"
#include "cpu/isa/select.h"
#include "weights/copy.h"
#include "weights/format.h"
#include "weights/fp8_matrix.h"
#include "weights/integer_matrix.h"
#include "weights/mxfp4_matrix.h"
#include "weights/pack.h"
#include "weights/quantize.h"
#include "weights/random.h"
#include "weights/rope_table.h"
#include "weights/transpose.h"

namespace moe {

Napi::Function WeightHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Weight",
      {InstanceAccessor<&WeightHandle::shape>("shape"),
       InstanceAccessor<&WeightHandle::format>("format"),
       InstanceAccessor<&WeightHandle::bytes>("bytes"), InstanceMethod<&WeightHandle::read>("read"),
       InstanceMethod<&WeightHandle::map>("map"), InstanceMethod<&WeightHandle::pin>("pin"),
       InstanceMethod<&WeightHandle::release>("release")});
}

/// Weight([N, K], format, gateUp, device): gets its memory when it is filled.
WeightHandle::WeightHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    const Shape shape = read_shape(info[0]);
    if (shape.rank() != 2)
      fail(Code::shape, "weight: shape must have 2 dimensions, got ", shape.text());
    weight = make_weight(shape[0], shape[1], read_format(info[1].ToString().Utf8Value()),
                         info[2].ToBoolean(), read_device(info[3]));
  });
}

Napi::Value WeightHandle::shape(const Napi::CallbackInfo& info) {
  const auto array = Napi::Array::New(info.Env(), 2);
  array.Set(0u, static_cast<double>(weight.N));
  array.Set(1u, static_cast<double>(weight.K));
  return array;
}

Napi::Value WeightHandle::format(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), format_of(weight.format).name);
}

Napi::Value WeightHandle::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(weight.bytes()));
}

/// read(offset, length): a copy of the packed bytes of a weight on the host that has been filled.
Napi::Value WeightHandle::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto offset = info[0].ToNumber().Int64Value(), length = info[1].ToNumber().Int64Value();
    const auto bytes = static_cast<int64_t>(weight.bytes());
    if (weight.slot->device() || !weight.data())
      fail(Code::device, "weight: memory must be filled and on the host to be read");
    if (offset < 0 || length < 0 || offset > bytes || length > bytes - offset)
      fail(Code::option, "weight: range must end before byte ", bytes, ", got ", length, " from ",
           offset, " on");
    auto memory = Napi::ArrayBuffer::New(info.Env(), static_cast<size_t>(length));
    if (length) std::memcpy(memory.Data(), weight.data() + offset, static_cast<size_t>(length));
    return Napi::Uint8Array::New(info.Env(), static_cast<size_t>(length), memory, 0);
  });
}

/// map(file, offset): the packed bytes are those of the file, where they are.
void WeightHandle::map(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto offset = info[1].ToNumber().Int64Value();
    map_weight(weight, unwrap<FileHandle>(info[0], "file")->file(), offset);
  });
}

/// pin(): in host memory that the GPU's kernels read, instead of the GPU's own.
void WeightHandle::pin(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { pin_weight(weight); });
}

/// Frees the memory now. Only after the last run that uses it.
void WeightHandle::release(const Napi::CallbackInfo&) {
  weight.slot->buffer->release();
  weight.slot->external = nullptr;
  weight.slot->owner = nullptr;
}

Weight read_weight(const Napi::Value& value) {
  if (value.IsUndefined() || value.IsNull()) return {};
  return unwrap<WeightHandle>(value, "weight")->weight;
}

namespace {

Napi::Value nothing(Napi::Env env) { return env.Undefined(); }

CpuContext load_context() { return {kernels(), Pool::get(), Pool::get().size()}; }

/// { layout, shape, values, scales, name } and by layout: of mxfp4 nothing else, of fp8 block
/// [rows, columns], of integers bits, group, zeros, order, zeroShift (see IntegerMatrix).
std::shared_ptr<EncodedMatrix> read_encoded(const Napi::Object& from) {
  const auto number = [&](const char* key) { return from.Get(key).ToNumber().Int64Value(); };
  const std::string layout = from.Get("layout").ToString().Utf8Value();
  const Shape shape = read_shape(from.Get("shape"));
  if (shape.rank() != 2)
    fail(Code::shape, "matrix: shape must have 2 dimensions, got ", shape.text());
  const Tensor values = read_tensor(from.Get("values")), scales = read_tensor(from.Get("scales"));
  const auto named = [&](const auto& matrix) {
    matrix->N = shape[0], matrix->K = shape[1];
    matrix->name = from.Get("name").ToString().Utf8Value();
    return matrix;
  };
  if (layout == "mxfp4") {
    const auto matrix = named(std::make_shared<Mxfp4Matrix>());
    matrix->blocks = values, matrix->scales = scales;
    return matrix;
  }
  if (layout == "fp8") {
    const Shape block = read_shape(from.Get("block"));
    if (block.rank() != 2) fail(Code::shape, "matrix: block must have 2 sizes, got ", block.text());
    const auto matrix = named(std::make_shared<Fp8Matrix>());
    matrix->values = values, matrix->scales = scales;
    matrix->block_rows = block[0], matrix->block_columns = block[1];
    return matrix;
  }
  using Layout = IntegerMatrix::Layout;
  const auto matrix = named(std::make_shared<IntegerMatrix>());
  matrix->layout = layout == "gptq"     ? Layout::gptq
                   : layout == "awq"    ? Layout::awq
                   : layout == "packed" ? Layout::packed
                                        : Layout::bytes;
  matrix->bits = static_cast<int>(number("bits"));
  matrix->group = number("group");
  matrix->values = values, matrix->scales = scales;
  matrix->zeros = read_tensor(from.Get("zeros"));
  matrix->order = read_tensor(from.Get("order"));
  matrix->zero_shift = from.Get("zeroShift").ToBoolean() ? 1 : 0;
  return matrix;
}

/// [source, start, count, step = 1, turned = false, zeros = undefined][]; a source is a tensor or
/// an encoded matrix
std::vector<RowRun> read_runs(const Napi::Value& value) {
  std::vector<RowRun> runs;
  const auto list = value.As<Napi::Array>();
  std::vector<std::pair<Napi::Value, std::shared_ptr<EncodedMatrix>>> matrices;
  const auto encoded = [&](const Napi::Value& source) {
    for (const auto& [object, matrix] : matrices)
      if (object.StrictEquals(source)) return matrix;
    return matrices.emplace_back(source, read_encoded(source.As<Napi::Object>())).second;
  };
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto run = list.Get(i).As<Napi::Array>();
    const auto number = [&](uint32_t at) { return run.Get(at).ToNumber().Int64Value(); };
    const Napi::Value source = run.Get(0u);
    const bool plain = is_handle<TensorHandle>(source);
    runs.push_back({plain ? read_tensor(source) : Tensor{}, number(1), number(2),
                    run.Get(3u).IsUndefined() ? 1 : number(3), run.Get(4u).ToBoolean().Value(),
                    plain ? nullptr : encoded(source)});
    if (!run.Get(5u).IsUndefined()) runs.back().zeros = number(5);
  }
  return runs;
}

/// The tensors that a run reads.
std::vector<Tensor> parts_of(const RowRun& run) {
  return run.encoded ? run.encoded->parts() : std::vector<Tensor>{run.source};
}

/// pack(weight, runs, cancel)
Napi::Value pack_weight(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Weight out = read_weight(info[0]);
    if (!out) fail(Code::option, "pack: weight must be a weight, got nothing");
    const std::vector<RowRun> runs = read_runs(info[1]);
    const CancelFlag cancel = read_cancel(info[2]);
    return Channel::of(info.Env())
        .run(info.Env(), cancel, [out, runs, cancel]() -> Channel::Result {
          if (cancel && cancel->load()) fail(Code::cancelled, "cancelled");
          pack(load_context(), out, runs);
          for (const RowRun& run : runs)
            for (const Tensor& part : parts_of(run)) release_pages(part);
          return nothing;
        });
  });
}

/// quantize(source [N, K], format, name): { values, scales }, bytes of both
Napi::Value quantize_matrix(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Tensor source = read_tensor(info[0]);
    if (!source || source.shape.rank() != 2)
      fail(Code::shape, "quantize: source must be a matrix, got ",
           source ? source.shape.text() : "nothing");
    const WeightFormat format = read_format(info[1].ToString().Utf8Value());
    const std::string name = info[2].ToString().Utf8Value();
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() -> Channel::Result {
      const RowRun all{source, 0, source.shape[0]};
      const Quantized rows = quantize(load_context(), all, format, name);
      release_pages(source);
      return [rows](Napi::Env env) {
        const auto result = Napi::Object::New(env);
        result.Set("values", to_typed_array(env, rows.values, rows.value_bytes, DType::u8));
        result.Set("scales", to_typed_array(env, rows.scales, rows.scale_bytes, DType::u8));
        return result;
      };
    });
  });
}

/// copy(out, source, cancel)
Napi::Value copy_tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    const Tensor source = read_tensor(info[1]);
    const CancelFlag cancel = read_cancel(info[2]);
    return Channel::of(info.Env())
        .run(info.Env(), cancel, [out, source, cancel]() mutable -> Channel::Result {
          if (cancel && cancel->load()) fail(Code::cancelled, "cancelled");
          copy_rows(source, out);
          release_pages(source);
          return nothing;
        });
  });
}

/// copyToF32(out, runs, scale)
Napi::Value copy_vector(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    const std::vector<RowRun> runs = read_runs(info[1]);
    const float scale = info[2].ToNumber().FloatValue();
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      copy_to_f32(runs, out, scale);
      for (const RowRun& run : runs) run.source.slot->verify();
      return nothing;
    });
  });
}

/// transpose(source, out)
Napi::Value transpose_matrix(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Tensor source = read_tensor(info[0]);
    Tensor out = read_tensor(info[1]);
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      transpose(load_context(), source, out);
      release_pages(source);
      return nothing;
    });
  });
}

/// ropeTable(out, frequencies[], positionScale, factor, 'exact' | 'bf16-frequencies' | 'published')
Napi::Value make_rope_table(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor out = read_tensor(info[0]);
    RopeAngles angles;
    const auto frequencies = info[1].As<Napi::Array>();
    for (uint32_t j = 0; j < frequencies.Length(); ++j)
      angles.frequencies.push_back(frequencies.Get(j).ToNumber().DoubleValue());
    angles.position_scale = info[2].ToNumber().DoubleValue();
    angles.factor = info[3].ToNumber().DoubleValue();
    const std::string name = info[4].ToString().Utf8Value();
    const auto rounding = name == "published"          ? RopeRounding::bf16
                          : name == "bf16-frequencies" ? RopeRounding::bf16_frequencies
                                                       : RopeRounding::exact;
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() mutable -> Channel::Result {
      rope_table(out, angles, rounding);
      return nothing;
    });
  });
}

/// fillRandom(tensor | weight, mean, deviation, seed)
Napi::Value fill(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Weight weight = is_handle<WeightHandle>(info[0]) ? read_weight(info[0]) : Weight{};
    const Tensor tensor = weight ? Tensor{} : read_tensor(info[0]);
    const float mean = info[1].ToNumber().FloatValue(), deviation = info[2].ToNumber().FloatValue();
    const auto seed = static_cast<uint64_t>(info[3].ToNumber().Int64Value());
    return Channel::of(info.Env()).run(info.Env(), nullptr, [=]() -> Channel::Result {
      Tensor out = tensor;
      weight ? fill_random(load_context(), weight, mean, deviation, seed)
             : fill_random(load_context(), out, mean, deviation, seed);
      return nothing;
    });
  });
}

}  // namespace

void define_weights(Napi::Env env, Napi::Object exports) {
  exports.Set("Weight", WeightHandle::define(env));
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("pack", pack_weight);
  add("quantize", quantize_matrix);
  add("copy", copy_tensor);
  add("copyToF32", copy_vector);
  add("transpose", transpose_matrix);
  add("fillRandom", fill);
  add("ropeTable", make_rope_table);
}

}  // namespace moe
