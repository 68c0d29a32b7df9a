#pragma once
// The only way from the engine thread back into JavaScript.
//
// A napi_threadsafe_function alone is not safe against the end of its environment
// (nodejs/node#55706, #58484, #65100): it can be destroyed while another thread is inside
// napi_call_threadsafe_function. So there is one per environment, made when the addon is loaded,
// and every use of it from another thread happens under a mutex that an environment cleanup hook
// also takes. Hooks run last-in first-out and ours is added after the thread-safe function's own,
// so ours runs first: after it nobody touches the handle.

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/cancel.h"
#include "core/error.h"

namespace moe {

/// What belongs to one JavaScript environment (the main thread or a worker).
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  using Message = std::function<void(Napi::Env, Channel&)>;  // runs on the JavaScript thread
  /// Builds the result of finished work, on the JavaScript thread.
  using Result = std::function<Napi::Value(Napi::Env)>;

  static void install(Napi::Env env);
  static Channel& of(Napi::Env env) { return **env.GetInstanceData<std::shared_ptr<Channel>>(); }

  /// Work that may wait for a device: see Engine::Rest.
  struct Waiting {
    std::function<bool()> arrived;
    std::function<Result()> finish;
  };

  /// Runs `work` on the engine thread; the promise settles with what it returns or throws.
  Napi::Promise run(Napi::Env env, CancelFlag cancel, std::function<Result()> work);
  /// The same in two halves, between which the next work for `device`, if any, may start.
  Napi::Promise run(Napi::Env env, CancelFlag cancel, const void* device,
                    std::function<Waiting()> start);

  /// A JavaScript MoeError made from `error`.
  Napi::Error make_error(Napi::Env env, Code code, const std::string& message) const;

  Napi::FunctionReference error_class;
  Napi::FunctionReference tensor_class;

 private:
  struct Call {
    Napi::Promise::Deferred deferred;
    CancelFlag cancel;
  };
  /// A result, or an error where there is none.
  struct Outcome {
    Result result;
    Code code = Code::option;
    std::string message;
  };

  static Outcome attempt(const std::function<Result()>& work);
  void answer(uint64_t id, Outcome outcome);
  bool post(Message message);
  void finish(Napi::Env env, uint64_t id, const std::function<void(Call&)>& settle);
  static void call_js(napi_env env, napi_value, void*, void* data);
  static void close(void* self);

  std::mutex mutex_;
  bool open_ = true;
  napi_threadsafe_function function_ = nullptr;
  std::unordered_map<uint64_t, Call> calls_;  // JavaScript thread only
  uint64_t last_id_ = 0;
};

constexpr const char* kNoMemory = "memory: allocation failed";

/// Runs `body`, turning moe::Error into a thrown MoeError.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw Channel::of(env).make_error(env, error.code, error.what());
  } catch (const std::bad_alloc&) {
    throw Channel::of(env).make_error(env, Code::out_of_memory, kNoMemory);
  }
}

}  // namespace moe
