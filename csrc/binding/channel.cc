#include "binding/channel.h"

#include "core/engine.h"

namespace moe {
namespace {

const char* code_name(Code code) {
  switch (code) {
    case Code::shape:
      return "ERR_MOE_SHAPE";
    case Code::dtype:
      return "ERR_MOE_DTYPE";
    case Code::device:
      return "ERR_MOE_DEVICE";
    case Code::option:
      return "ERR_MOE_OPTION";
    case Code::checkpoint:
      return "ERR_MOE_CHECKPOINT";
    case Code::unsupported:
      return "ERR_MOE_UNSUPPORTED";
    case Code::numeric:
      return "ERR_MOE_NUMERIC";
    case Code::out_of_memory:
      return "ERR_MOE_OUT_OF_MEMORY";
    case Code::cuda_unavailable:
      return "ERR_MOE_CUDA_UNAVAILABLE";
    case Code::cancelled:
      return "ERR_MOE_CANCELLED";
  }
  return "ERR_MOE_OPTION";
}

}  // namespace

void Channel::install(Napi::Env env) {
  auto self = std::make_shared<Channel>();
  napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "moe"), 0, 1,
                                  nullptr, nullptr, nullptr, &Channel::call_js, &self->function_);
  napi_unref_threadsafe_function(env, self->function_);  // idle: does not keep the process alive
  auto* holder = new std::shared_ptr<Channel>(self);
  env.SetInstanceData(holder);
  napi_add_env_cleanup_hook(env, &Channel::close, holder->get());
}

Napi::Error Channel::make_error(Napi::Env env, Code code, const std::string& message) const {
  if (error_class.IsEmpty()) return Napi::Error::New(env, message);
  const auto error =
      error_class.New({Napi::String::New(env, code_name(code)), Napi::String::New(env, message)});
  return Napi::Error(env, error);
}

Channel::Outcome Channel::attempt(const std::function<Result()>& work) {
  try {
    return {.result = work()};
  } catch (const Error& error) {
    return {.result = {}, .code = error.code, .message = error.what()};
  } catch (const std::bad_alloc&) {
    return {.result = {}, .code = Code::out_of_memory, .message = kNoMemory};
  } catch (const std::exception& error) {
    return {.result = {}, .message = error.what()};
  }
}

Napi::Promise Channel::run(Napi::Env env, CancelFlag cancel, std::function<Result()> work) {
  return run(env, cancel, nullptr, [work = std::move(work)]() -> Waiting {
    return {nullptr, [result = work()] { return result; }};
  });
}

Napi::Promise Channel::run(Napi::Env env, CancelFlag cancel, const void* device,
                           std::function<Waiting()> start) {
  Call call{Napi::Promise::Deferred::New(env), cancel};
  const Napi::Promise promise = call.deferred.Promise();
  Engine& engine = Engine::get();  // before anything waits for it: it may fail to start
  if (calls_.empty()) napi_ref_threadsafe_function(env, function_);
  const uint64_t id = ++last_id_;
  calls_.emplace(id, std::move(call));
  // The engine holds the channel, the flag and a number; what belongs to JavaScript stays here.
  // What work holds is freed before the caller hears of its end.
  engine.post({[channel = shared_from_this(), id, start = std::move(start)]() mutable {
                 Waiting waiting;
                 Outcome started = attempt([&]() -> Result {
                   waiting = start();
                   return nullptr;
                 });
                 start = nullptr;
                 if (!waiting.finish)
                   return Engine::Rest{nullptr, [channel, id, started = std::move(started)] {
                                         channel->answer(id, started);
                                       }};
                 return Engine::Rest{std::move(waiting.arrived),
                                     [channel, id, finish = std::move(waiting.finish)]() mutable {
                                       Outcome outcome = attempt(finish);
                                       finish = nullptr;
                                       channel->answer(id, std::move(outcome));
                                     }};
               },
               device});
  return promise;
}

void Channel::answer(uint64_t id, Outcome outcome) {
  post([id, outcome = std::move(outcome)](Napi::Env env, Channel& self) {
    self.finish(env, id, [&](Call& call) {
      const auto& [result, code, message] = outcome;
      if (!result) return call.deferred.Reject(self.make_error(env, code, message).Value());
      try {
        call.deferred.Resolve(result(env));
      } catch (const Napi::Error& error) {
        call.deferred.Reject(error.Value());
      } catch (const Error& error) {
        call.deferred.Reject(self.make_error(env, error.code, error.what()).Value());
      } catch (const std::bad_alloc&) {
        call.deferred.Reject(self.make_error(env, Code::out_of_memory, kNoMemory).Value());
      }
    });
  });
}

void Channel::finish(Napi::Env env, uint64_t id, const std::function<void(Call&)>& settle) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  settle(found->second);
  calls_.erase(found);
  if (calls_.empty()) napi_unref_threadsafe_function(env, function_);
}

bool Channel::post(Message message) {
  auto* data = new Message(std::move(message));
  std::lock_guard lock(mutex_);
  if (open_ && napi_call_threadsafe_function(function_, data, napi_tsfn_nonblocking) == napi_ok)
    return true;
  delete data;
  return false;
}

void Channel::call_js(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<Message> message(static_cast<Message*>(data));
  if (env == nullptr) return;  // being torn down
  // Nothing may leave this frame: in a terminating worker every call into JavaScript fails, and a
  // C++ exception here ends the process.
  try {
    Napi::HandleScope scope(env);
    (*message)(Napi::Env(env), of(Napi::Env(env)));
  } catch (...) {
  }
}

void Channel::close(void* data) {
  auto* self = static_cast<Channel*>(data);
  {
    std::lock_guard lock(self->mutex_);
    self->open_ = false;
  }
  for (auto& [id, call] : self->calls_)
    if (call.cancel) call.cancel->store(true);
  self->calls_.clear();
  // The environment can still delete them now; later it is too late.
  self->error_class.Reset();
  self->tensor_class.Reset();
}

}  // namespace moe
