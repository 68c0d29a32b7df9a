#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace moe {

/// The stable part of every error; JavaScript sees it as `ERR_MOE_<NAME>`.
enum class Code {
  shape,             // a tensor has another shape than the op needs
  dtype,             // a tensor has another element type than the op takes
  device,            // a tensor lives on another device, or the device does not exist
  option,            // an argument is out of range or of another type
  checkpoint,        // a file is missing, truncated or inconsistent
  unsupported,       // valid, but not implemented
  numeric,           // a number that must be finite is not
  out_of_memory,     // an allocation failed
  cuda_unavailable,  // no backend library, no driver, no GPU, or one that is too old
  cancelled,  // internal: the caller gave up; JavaScript turns it into the signal's own reason
};

struct Error : std::runtime_error {
  Error(Code code, const std::string& message) : std::runtime_error(message), code(code) {}
  Code code;
};

/// Concatenates its arguments as text.
template <class... Args>
std::string text(const Args&... args) {
  std::ostringstream stream;
  (stream << ... << args);
  return stream.str();
}

/// Throws Error with the concatenation of `args` as message:
/// `<where>: <argument> must be <expected>, got <actual>`.
template <class... Args>
[[noreturn]] void fail(Code code, const Args&... args) {
  throw Error(code, text(args...));
}

}  // namespace moe
