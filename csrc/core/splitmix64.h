#pragma once

#include <cstdint>

namespace moe {

/// Number `i` of the stream that `seed` starts: Steele, Lea and Flood 2014, "Fast splittable
/// pseudorandom number generators". constexpr lets GPU code call it, too.
constexpr uint64_t splitmix64(uint64_t seed, uint64_t i) {
  uint64_t z = seed + 0x9e3779b97f4a7c15ull * (i + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace moe
