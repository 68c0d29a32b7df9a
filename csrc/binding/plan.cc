#include "binding/plan.h"

#include <chrono>
#include <cstring>

#include "binding/record.h"
#include "core/device_run.h"
#include "cpu/isa/select.h"
#include "fused/rules.h"

namespace moe {
namespace {

/// Copies a plan's inputs from one blob, and from tensors of other plans, when its turn has come.
class Inputs {
 public:
  Inputs(Napi::Env env, const Plan& plan, const Napi::Value& given) {
    if (!given.IsObject()) fail(Code::option, "run: inputs must be an object, got ", shown(given));
    const auto named = given.As<Napi::Object>();
    for (const auto& [name, tensor] : plan.inputs()) add(env, name, tensor, named.Get(name));
    const auto names = named.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); ++i) {
      const std::string name = names.Get(i).ToString().Utf8Value();
      if (!plan.inputs().contains(name))
        fail(Code::option, "run: ", name, " must be absent: the plan has no such input");
    }
  }

  /// Takes tensors' values to the host: they may lie in memory that the plan's own needs replace.
  void hold(Device* gpu) {
    for (const auto& [to, from, bytes] : tensors_) {
      check_computed(from, bytes);
      const size_t at = Plan::input_offset(to);
      if (blob_.size() < at + bytes) blob_.resize(at + bytes);
      if (gpu)
        gpu->download(blob_.data() + at, from.as<std::byte>(), bytes);
      else
        std::memcpy(blob_.data() + at, from.as<std::byte>(), bytes);
    }
    tensors_.clear();
  }

  /// `run`: of a plan for a GPU.
  void copy(const Plan& plan, DeviceRun* run) const {
    const auto put = [&](void* to, const void* from, size_t bytes) {
      run ? run->upload(to, from, bytes) : void(std::memcpy(to, from, bytes));
    };
    if (!blob_.empty()) put(plan.input_memory(), blob_.data(), blob_.size());
    for (const auto& [to, from, bytes] : tensors_) {
      check_computed(from, bytes);
      if (Device* gpu = plan.device())
        gpu->upload(to.as<std::byte>(), from.as<std::byte>(), bytes);
      else
        std::memcpy(to.as<std::byte>(), from.as<std::byte>(), bytes);
    }
  }

 private:
  struct FromTensor {
    Tensor to, from;
    size_t bytes;
  };

  /// Its plan may never have run.
  static void check_computed(const Tensor& tensor, size_t bytes) {
    const Slot& slot = *tensor.slot;
    if (slot.buffer && slot.offset + tensor.offset + bytes > slot.buffer->bytes())
      fail(Code::option, "run: input must be from a tensor that has been computed");
  }

  void add(Napi::Env env, const std::string& name, const Tensor& to, const Napi::Value& value) {
    if (!value.IsTypedArray()) return add_tensor(name, to, value);
    napi_typedarray_type type;
    size_t count = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env, value, &type, &count, &data, nullptr, nullptr) != napi_ok)
      fail(Code::option, "run: ", name, " must be a typed array, got ", shown(value));
    constexpr size_t element_bytes[] = {1, 1, 1, 2, 2, 4,
                                        4, 4, 8, 8, 8};  // by napi_typedarray_type
    if (element_bytes[type] != dtype_bytes(to.dtype) ||
        static_cast<int64_t>(count) > to.shape.count())
      fail(Code::shape, "run: ", name, " must have at most ", to.shape.count(), " elements of ",
           dtype_bytes(to.dtype), " bytes, got ", count, " of ", element_bytes[type]);
    const size_t at = Plan::input_offset(to), bytes = count * element_bytes[type];
    if (bytes == 0) return;
    if (blob_.size() < at + bytes) blob_.resize(at + bytes);
    std::memcpy(blob_.data() + at, data, bytes);
  }

  void add_tensor(const std::string& name, const Tensor& to, const Napi::Value& value) {
    if (!is_handle<TensorHandle>(value))
      fail(Code::option, "run: ", name, " must be a typed array or a tensor, got ", shown(value));
    const Tensor from = read_tensor(value);
    if (!from || to.slot->device() != from.slot->device() || to.dtype != from.dtype ||
        !(to.shape == from.shape))
      fail(Code::shape, "run: ", name, " must be a tensor of its shape, dtype and device");
    tensors_.push_back({to, from, static_cast<size_t>(to.shape.count()) * dtype_bytes(to.dtype)});
  }

  std::vector<std::byte> blob_;
  std::vector<FromTensor> tensors_;
};

struct Output {
  std::string name;
  Tensor tensor;
  std::shared_ptr<Buffer> copy;
};

/// Copies of a plan's outputs; of a GPU's they are there when `run` has arrived.
std::vector<Output> copy_outputs(const Plan& plan, DeviceRun* run) {
  std::vector<Output> outputs;
  std::vector<DeviceRun::Copy> copies;
  for (const auto& [name, tensor] : plan.outputs()) {
    const size_t bytes = static_cast<size_t>(tensor.shape.count()) * dtype_bytes(tensor.dtype);
    outputs.push_back({name, tensor, std::make_shared<Buffer>(std::max<size_t>(bytes, 1))});
    copies.push_back({outputs.back().copy->data(), tensor.as<std::byte>(), bytes});
  }
  if (run)
    run->download(std::move(copies));
  else
    for (const auto& [to, from, bytes] : copies) std::memcpy(to, from, bytes);
  return outputs;
}

}  // namespace

Napi::Function PlanHandle::define(Napi::Env env) {
  return DefineClass(env, "Plan",
                     {
                         InstanceMethod<&PlanHandle::input>("input"),
                         InstanceMethod<&PlanHandle::output>("output"),
                         InstanceMethod<&PlanHandle::record>("record"),
                         InstanceMethod<&PlanHandle::run>("run"),
                         InstanceMethod<&PlanHandle::time>("time"),
                         InstanceMethod<&PlanHandle::time_runs>("timeRuns"),
                     });
}

/// Plan(arena, { fuse = true, deterministic = false })
PlanHandle::PlanHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    Plan::Options options{.fuse = fuse};
    if (info[1].IsObject()) {
      const auto given = info[1].As<Napi::Object>();
      if (given.Get("fuse").StrictEquals(Napi::Boolean::New(info.Env(), false)))
        options.fuse = nullptr;
      options.deterministic = given.Get("deterministic").ToBoolean();
    }
    plan_ = std::make_shared<Plan>(unwrap<ArenaHandle>(info[0], "arena")->arena, options);
  });
}

/// input(name, shape, dtype): a tensor that each run is given.
Napi::Value PlanHandle::input(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string name = info[0].ToString().Utf8Value();
    return TensorHandle::wrap(info.Env(),
                              plan_->input(name, read_shape(info[1]), read_dtype(info[2])));
  });
}

/// output(name, tensor): each run gives a copy of it.
void PlanHandle::output(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { plan_->output(info[0].ToString().Utf8Value(), read_tensor(info[1])); });
}

/// record(op, fields): checks and appends an op; returns its outputs by name.
Napi::Value PlanHandle::record(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return record_op(info.Env(), *plan_, info[0], info[1]); });
}

/// run({ input: typed array | tensor }, threads, cancel): copies the data in, runs, and resolves to
/// { output: typed array }.
Napi::Value PlanHandle::run(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto inputs = std::make_shared<Inputs>(info.Env(), *plan_, info[0]);
    plan_->finish();  // here: a run of it may be on its way on the engine thread
    const int threads = std::max(1, info[1].ToNumber().Int32Value());
    const CancelFlag cancel = read_cancel(info[2]);
    const auto start = [plan = plan_, inputs, threads, cancel]() -> Channel::Waiting {
      if (plan->grows()) inputs->hold(plan->device());
      plan->reserve();
      const auto run =
          plan->device() ? std::make_shared<DeviceRun>(plan->shared_device()) : nullptr;
      inputs->copy(*plan, run.get());
      plan->run({kernels(), Pool::get(), threads}, cancel);
      auto outputs = copy_outputs(*plan, run.get());
      const auto finish = [plan, run, outputs = std::move(outputs)]() -> Channel::Result {
        if (run) run->finish();
        return [outputs](Napi::Env env) {
          const auto named = Napi::Object::New(env);
          for (const auto& [name, tensor, copy] : outputs)
            named.Set(name, to_typed_array(env, copy, static_cast<size_t>(tensor.shape.count()),
                                           tensor.dtype));
          return named;
        };
      };
      if (!run) return {nullptr, finish};
      return {[run] { return run->arrived(); }, finish};
    };
    return Channel::of(info.Env()).run(info.Env(), cancel, plan_->device(), start);
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
/// graph, by the GPU's clock.
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
            const auto run = [&] { plan->run(cpu, nullptr); };
            if (Device* gpu = plan->device()) {
              seconds.push_back(gpu->time(run));
              continue;
            }
            const auto started = Clock::now();
            run();
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
