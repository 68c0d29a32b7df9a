#pragma once

#include <algorithm>
#include <cstdint>

namespace moe {

/// Counting sort of slots by group, in slot order inside a group: rows[s] is the row of slot s, -1
/// where `group_of(s)` is negative; rows of group g are offsets[g] to offsets[g + 1]. `group_of`
/// may read rows[s].
template <class GroupOf>
void place_rows(int64_t slots, int64_t groups, const GroupOf& group_of, int32_t* rows,
                int32_t* offsets) {
  std::fill_n(offsets, groups + 1, 0);
  for (int64_t s = 0; s < slots; ++s)
    if (const int32_t g = group_of(s); g >= 0) ++offsets[g + 1];
  for (int64_t g = 0; g < groups; ++g) offsets[g + 1] += offsets[g];
  for (int64_t s = 0; s < slots; ++s) {
    const int32_t g = group_of(s);
    rows[s] = g < 0 ? -1 : offsets[g]++;
  }
  for (int64_t g = groups; g > 0; --g) offsets[g] = offsets[g - 1];
  offsets[0] = 0;
}

}  // namespace moe
