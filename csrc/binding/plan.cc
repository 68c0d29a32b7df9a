#include "binding/plan.h"

#include <chrono>
#include <cstring>

#include "binding/weights.h"
#include "cpu/isa/select.h"
#include "ops/attention.h"
#include "ops/attention_router.h"
#include "ops/causal_pair.h"
#include "ops/combine.h"
#include "ops/embedding.h"
#include "ops/gather_rows.h"
#include "ops/grouped_gemm.h"
#include "ops/linear.h"
#include "ops/norm_linear.h"
#include "ops/permute.h"
#include "ops/probe.h"
#include "ops/rms_norm.h"
#include "ops/rope_cache.h"
#include "ops/route.h"
#include "ops/sample.h"
#include "ops/top_k.h"

namespace moe {
namespace {

// One overload for each type of op field. `tensors` collects what the op touches.

void read_field(const Napi::Value& value, Tensor& field, std::vector<Tensor>& tensors) {
  field = read_tensor(value);
  if (field) tensors.push_back(field);
}

void read_field(const Napi::Value& value, Weight& field, std::vector<Tensor>& tensors) {
  field = read_weight(value);
  if (!field) return;
  tensors.emplace_back().slot = field.slot;
}

void read_field(const Napi::Value& value, std::vector<Weight>& field,
                std::vector<Tensor>& tensors) {
  if (!value.IsArray()) fail(Code::option, "native: argument must be a list of weights");
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i)
    read_field(array.Get(i), field.emplace_back(), tensors);
}

void read_field(const Napi::Value& value, float& field, std::vector<Tensor>&) {
  field = value.ToNumber().FloatValue();
}

void read_field(const Napi::Value& value, int64_t& field, std::vector<Tensor>&) {
  field = value.ToNumber().Int64Value();
}

template <class Integer>
void read_field(const Napi::Value& value, std::vector<Integer>& field, std::vector<Tensor>&) {
  if (value.IsUndefined()) return;
  if (!value.IsArray()) fail(Code::option, "native: argument must be a list of integers");
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i)
    field.push_back(static_cast<Integer>(array.Get(i).ToNumber().Int32Value()));
}

template <class Enum>
void read_name(const Napi::Value& value, Enum& field, std::initializer_list<const char*> names) {
  const std::string name = value.ToString().Utf8Value();
  int index = 0;
  for (const char* candidate : names) {
    if (name == candidate) return void(field = static_cast<Enum>(index));
    ++index;
  }
  fail(Code::option, "native: argument must be one of the known names, got ", name);
}

void read_field(const Napi::Value& value, Activation& field, std::vector<Tensor>&) {
  read_name(value, field, {"none", "silu", "swiglu", "tanh"});
}

void read_field(const Napi::Value& value, TopKWeights& field, std::vector<Tensor>&) {
  read_name(value, field, {"renormalized", "softmax"});
}

void read_field(const Napi::Value& value, ProbeKind& field, std::vector<Tensor>&) {
  read_name(value, field, {"read", "copy", "empty"});
}

/// An op inside an op: its arguments in a list.
void read_field(const Napi::Value& value, TopK& field, std::vector<Tensor>& tensors) {
  if (!value.IsArray()) fail(Code::option, "native: argument must be a list");
  const auto list = value.As<Napi::Array>();
  uint32_t i = 0;
  const auto next = [&](auto& part) { read_field(list.Get(i++), part, tensors); };
  next(field.logits), next(field.ids), next(field.weights), next(field.kind);
  next(field.norm_std), next(field.gives_share), next(field.groups);
  next(field.offsets), next(field.rows);
}

/// Numbers for a tensor: bytes of a blob that all inputs of a run share, or another tensor's.
struct Input {
  Tensor to, from;
  size_t offset, bytes;

  const std::byte* source(const std::vector<std::byte>& blob) const {
    if (!from) return blob.data() + offset;
    const Slot& slot = *from.slot;  // of a plan that may never have run
    if (slot.buffer && slot.offset + from.offset + bytes > slot.buffer->bytes())
      fail(Code::option, "run: input must be from a tensor that has been computed");
    return from.as<std::byte>();
  }
};

/// Appends the typed array's bytes to `blob`.
Input read_input(Napi::Env env, const Napi::Value& tensor, const Napi::Value& array,
                 std::vector<std::byte>& blob) {
  Input input{read_tensor(tensor), {}, blob.size(), 0};
  if (!array.IsTypedArray()) {
    input.from = read_tensor(array);
    if (!input.to || !input.from || input.to.slot->device() != input.from.slot->device() ||
        input.to.dtype != input.from.dtype || !(input.to.shape == input.from.shape))
      fail(Code::shape, "run: input must be a tensor and one of its shape, dtype and device");
    input.bytes = static_cast<size_t>(input.to.shape.count()) * dtype_bytes(input.to.dtype);
    return input;
  }
  napi_typedarray_type type;
  size_t count = 0;
  void* data = nullptr;
  if (!input.to ||
      napi_get_typedarray_info(env, array, &type, &count, &data, nullptr, nullptr) != napi_ok)
    fail(Code::option, "run: input must be a tensor and a typed array");
  constexpr size_t element_bytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};  // by napi_typedarray_type
  if (element_bytes[type] != dtype_bytes(input.to.dtype) ||
      static_cast<int64_t>(count) > input.to.shape.count())
    fail(Code::shape, "run: input must have at most ", input.to.shape.count(), " elements of ",
         dtype_bytes(input.to.dtype), " bytes, got ", count, " of ", element_bytes[type]);
  input.bytes = count * element_bytes[type];
  const auto* bytes = static_cast<const std::byte*>(data);
  blob.insert(blob.end(), bytes, bytes + input.bytes);
  return input;
}

struct Output {
  Tensor tensor;
  std::shared_ptr<Buffer> copy;
};

}  // namespace

template <class Op, auto... Fields>
void PlanHandle::record(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    Op op{};
    std::vector<Tensor> tensors;
    size_t i = 0;
    (read_field(info[i++], op.*Fields, tensors), ...);
    plan_->record(std::move(op), std::move(tensors));
  });
}

Napi::Function PlanHandle::define(Napi::Env env) {
  using A = Attention;
  using C = CausalPair;
  using G = GroupedGemm;
  using M = Combine;
  using N = NormLinear;
  using R = RopeCache;
  using S = Sample;
  return DefineClass(
      env, "Plan",
      {
          InstanceMethod<&PlanHandle::empty>("empty"),
          InstanceMethod<&PlanHandle::run>("run"),
          InstanceMethod<&PlanHandle::time>("time"),
          InstanceMethod<&PlanHandle::time_runs>("timeRuns"),
          InstanceMethod<
              &PlanHandle::record<Embedding, &Embedding::table, &Embedding::ids, &Embedding::out>>(
              "embedding"),
          InstanceMethod<&PlanHandle::record<RmsNorm, &RmsNorm::x, &RmsNorm::weight, &RmsNorm::out,
                                             &RmsNorm::eps>>("rmsNorm"),
          InstanceMethod<&PlanHandle::record<N, &N::x, &N::norm_weight, &N::eps, &N::normed,
                                             &N::exact, &N::weight, &N::out>>("normLinear"),
          InstanceMethod<&PlanHandle::record<Linear, &Linear::x, &Linear::weight, &Linear::bias,
                                             &Linear::residual, &Linear::out, &Linear::activation>>(
              "linear"),
          InstanceMethod<&PlanHandle::record<R, &R::q, &R::k, &R::v, &R::positions, &R::slots,
                                             &R::table, &R::keys, &R::values>>("ropeCache"),
          InstanceMethod<
              &PlanHandle::record<A, &A::q, &A::keys, &A::values, &A::positions, &A::starts,
                                  &A::sequences, &A::block_table, &A::out, &A::scale>>("attention"),
          InstanceMethod<&PlanHandle::record<C, &C::x, &C::state, &C::positions, &C::slots,
                                             &C::sequences, &C::block_table, &C::out>>(
              "causalPair"),
          InstanceMethod<&PlanHandle::record<AttentionRouter, &AttentionRouter::qkv,
                                             &AttentionRouter::logits>>("attentionRouter"),
          InstanceMethod<&PlanHandle::record<TopK, &TopK::logits, &TopK::ids, &TopK::weights,
                                             &TopK::kind, &TopK::norm_std, &TopK::gives_share,
                                             &TopK::groups, &TopK::offsets, &TopK::rows>>("topK"),
          InstanceMethod<&PlanHandle::record<
              Route, &Route::x, &Route::norm_weight, &Route::eps, &Route::normed, &Route::weight,
              &Route::qkv, &Route::previous, &Route::gate_map, &Route::carried, &Route::top_k>>(
              "route"),
          InstanceMethod<&PlanHandle::record<Probe, &Probe::from, &Probe::to, &Probe::kind>>(
              "probe"),
          InstanceMethod<&PlanHandle::record<Permute, &Permute::x, &Permute::rows, &Permute::scale,
                                             &Permute::out>>("permute"),
          InstanceMethod<&PlanHandle::record<G, &G::x, &G::rows, &G::scale, &G::gathered,
                                             &G::offsets, &G::weights, &G::out, &G::activation>>(
              "groupedGemm"),
          InstanceMethod<
              &PlanHandle::record<M, &M::expert_out, &M::rows, &M::ids, &M::weights, &M::residual,
                                  &M::kinds, &M::x, &M::constants, &M::gates, &M::scale, &M::out>>(
              "combine"),
          InstanceMethod<
              &PlanHandle::record<GatherRows, &GatherRows::x, &GatherRows::rows, &GatherRows::out>>(
              "gatherRows"),
          InstanceMethod<&PlanHandle::record<S, &S::logits, &S::options, &S::counts, &S::history,
                                             &S::history_offsets, &S::ids, &S::logprobs,
                                             &S::top_ids, &S::top_logprobs, &S::vocabulary>>(
              "sample"),
      });
}

PlanHandle::PlanHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(),
          [&] { plan_ = std::make_shared<Plan>(unwrap<ArenaHandle>(info[0], "arena")->buffer); });
}

Napi::Value PlanHandle::empty(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return TensorHandle::wrap(info.Env(), plan_->empty(read_shape(info[0]), read_dtype(info[1])));
  });
}

/// run(inputs: [tensor, data][], outputs: tensor[], threads, cancel): copies the data in, runs, and
/// resolves to one typed array for each output.
Napi::Value PlanHandle::run(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto inputs = info[0].As<Napi::Array>();
    const auto outputs = info[1].As<Napi::Array>();
    std::vector<Input> copies;
    std::vector<std::byte> blob;
    for (uint32_t i = 0; i < inputs.Length(); ++i) {
      const auto pair = inputs.Get(i).As<Napi::Array>();
      copies.push_back(read_input(info.Env(), pair.Get(0u), pair.Get(1u), blob));
    }
    auto results = std::make_shared<std::vector<Output>>();
    for (uint32_t i = 0; i < outputs.Length(); ++i) {
      results->push_back({read_tensor(outputs.Get(i)), nullptr});
      plan_->keep(results->back().tensor);
    }
    plan_->finish();  // here: a run of it may be on its way on the engine thread
    const int threads = std::max(1, info[2].ToNumber().Int32Value());
    const CancelFlag cancel = read_cancel(info[3]);
    return Channel::of(info.Env())
        .run(info.Env(), cancel,
             [plan = plan_, copies = std::move(copies), blob = std::move(blob), results, threads,
              cancel]() -> Channel::Result {
               Device* gpu = plan->device();
               for (const Input& input : copies) {
                 if (gpu)
                   gpu->upload(input.to.as<std::byte>(), input.source(blob), input.bytes);
                 else
                   std::memcpy(input.to.as<std::byte>(), input.source(blob), input.bytes);
               }
               plan->run({kernels(), Pool::get(), threads}, cancel);
               std::vector<Device::Download> downloads;
               for (Output& output : *results) {
                 const size_t bytes = output.tensor.bytes();
                 output.copy = std::make_shared<Buffer>(std::max<size_t>(bytes, 1));
                 downloads.push_back({output.copy->data(), output.tensor.as<std::byte>(), bytes});
               }
               if (gpu) gpu->download(downloads);
               for (const auto& [to, from, bytes] : downloads)
                 if (!gpu) std::memcpy(to, from, bytes);
               return [results](Napi::Env env) {
                 const auto array = Napi::Array::New(env, results->size());
                 for (uint32_t i = 0; i < results->size(); ++i) {
                   const Output& o = (*results)[i];
                   array.Set(
                       i, to_typed_array(env, o.copy, static_cast<size_t>(o.tensor.shape.count()),
                                         o.tensor.dtype));
                 }
                 return array;
               };
             });
  });
}

/// time(iterations, threads): runs on what is there and resolves to { ops: name[], seconds: f64
/// [iterations, ops], launches: kernels of a run on a GPU, once it has been captured }.
Napi::Value PlanHandle::time(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int iterations = std::max(1, info[0].ToNumber().Int32Value());
    const int threads = std::max(1, info[1].ToNumber().Int32Value());
    return Channel::of(info.Env())
        .run(info.Env(), nullptr, [plan = plan_, iterations, threads]() -> Channel::Result {
          std::vector<double> seconds;
          for (int i = 0; i < iterations; ++i)
            plan->run({kernels(), Pool::get(), threads}, nullptr, &seconds);
          return [plan, seconds = std::move(seconds)](Napi::Env env) {
            const auto result = Napi::Object::New(env);
            const auto ops = Napi::Array::New(env);
            for (const std::string& name : plan->names()) ops.Set(ops.Length(), name);
            auto times = Napi::Float64Array::New(env, seconds.size());
            std::copy(seconds.begin(), seconds.end(), times.Data());
            result.Set("ops", ops);
            result.Set("seconds", times);
            result.Set("launches", static_cast<double>(plan->launches()));
            return result;
          };
        });
  });
}

/// timeRuns(iterations, threads): seconds of each run, f64 [iterations]; on a GPU of the replayed
/// graph.
Napi::Value PlanHandle::time_runs(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int iterations = std::max(1, info[0].ToNumber().Int32Value());
    const int threads = std::max(1, info[1].ToNumber().Int32Value());
    return Channel::of(info.Env())
        .run(info.Env(), nullptr, [plan = plan_, iterations, threads]() -> Channel::Result {
          using Clock = std::chrono::steady_clock;
          const CpuContext cpu{kernels(), Pool::get(), threads};
          for (int i = 0; i < 2; ++i) plan->run(cpu, nullptr);  // eager, then captured
          if (plan->device()) plan->device()->synchronize();
          std::vector<double> seconds;
          for (int i = 0; i < iterations; ++i) {
            const auto started = Clock::now();
            plan->run(cpu, nullptr);
            if (plan->device()) plan->device()->synchronize();
            seconds.push_back(std::chrono::duration<double>(Clock::now() - started).count());
          }
          return [seconds = std::move(seconds)](Napi::Env env) {
            auto times = Napi::Float64Array::New(env, seconds.size());
            std::copy(seconds.begin(), seconds.end(), times.Data());
            return times;
          };
        });
  });
}

}  // namespace moe
