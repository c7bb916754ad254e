// Which rows and columns of a canvas a segment can reach. g++ and nvcc both compile it.
#pragma once
#include "segment_math.h"

namespace softraster {

struct Range {
  int64_t begin, end;
  SOFTRASTER_HOST_DEVICE bool empty() const { return begin >= end; }
};

SOFTRASTER_HOST_DEVICE Range overlap(Range a, Range b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

// The pixels of `within` whose centres lie in [low, high].
SOFTRASTER_HOST_DEVICE Range clip(double low, double high, Range within) {
  const double first = low - 0.5, last = high - 0.5;
  if (!(first < within.end && last >= within.begin)) return {within.begin, within.begin};
  return {first > within.begin ? static_cast<int32_t>(first) + 1 : within.begin,
          last < within.end - 1 ? static_cast<int32_t>(last) + 1 : within.end};
}

template <class T>
SOFTRASTER_HOST_DEVICE Range row_support(const Segment<T>& s, Range rows) {
  const double arm = 0.5 * fabs(s.dy) + s.reach;
  return clip(s.mid_y - arm, s.mid_y + arm, rows);
}

template <class T>
SOFTRASTER_HOST_DEVICE Range column_support(const Segment<T>& s, Range columns) {
  const double arm = 0.5 * fabs(s.dx) + s.reach;
  return clip(s.mid_x - arm, s.mid_x + arm, columns);
}

}  // namespace softraster
