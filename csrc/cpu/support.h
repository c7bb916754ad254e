// Which pixels of a canvas a segment can reach, and its soft boxes over them as tables.
// Rows and columns are visited in chunks of kLanes, the unit that compilers turn into vector code.
#pragma once
#include "../segment_math.h"
#include "parallel.h"

namespace softraster {
namespace cpu {

constexpr int kLanes = 8;

struct Range {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
};

// The pixels of `within` whose centres lie in [low, high].
SOFTRASTER_INLINE Range clip(double low, double high, Range within) {
  const double first = low - 0.5, last = high - 0.5;
  if (!(first < within.end && last >= within.begin)) return {within.begin, within.begin};
  return {first > within.begin ? static_cast<int64_t>(first) + 1 : within.begin,
          last < within.end - 1 ? static_cast<int64_t>(last) + 1 : within.end};
}

template <class T>
SOFTRASTER_INLINE Range row_support(const Segment<T>& s, Range rows) {
  const double arm = 0.5 * fabs(s.dy) + s.reach;
  return clip(s.mid_y - arm, s.mid_y + arm, rows);
}

template <class T>
SOFTRASTER_INLINE Range column_support(const Segment<T>& s, Range columns) {
  const double arm = 0.5 * fabs(s.dx) + s.reach;
  return clip(s.mid_x - arm, s.mid_x + arm, columns);
}

// Within a row the line's window leaves an interval of columns: its centre moves by `step` a row.
struct RowWindow {
  double step, arm;
};

template <class T>
SOFTRASTER_INLINE RowWindow row_window(const Segment<T>& s) {
  if (s.axis == Axis::kY) return {s.slope, s.reach};
  const double step = fabs(s.slope) > 1e-30 ? 1 / s.slope : 1e30;  // finite: 0 * step is 0
  return {step, s.reach * fabs(step)};
}

template <Axis axis, class T>
SOFTRASTER_INLINE Range visited_columns(const Segment<T>& s, const RowWindow& window, int64_t row,
                                        Range columns) {
  if (axis == Axis::kDot) return columns;
  const double middle = s.mid_x + window.step * (row + 0.5 - s.mid_y);
  return clip(middle - window.arm, middle + window.arm, columns);
}

// The line's offset from the first pixel of a chunk, and how it changes from pixel to pixel. In
// double at first: far from the midpoint, the small offset is the difference of large numbers.
template <class T>
struct Offset {
  T first, step;
};

template <Axis axis, class T>
SOFTRASTER_INLINE Offset<T> chunk_offset(const Segment<T>& s, int64_t row, int64_t chunk) {
  const double from_mid_x = chunk + 0.5 - s.mid_x, from_mid_y = row + 0.5 - s.mid_y;
  if (axis == Axis::kX) return {T(s.slope * from_mid_x - from_mid_y), T(s.slope)};
  return {T(s.slope * from_mid_y - from_mid_x), T(-1)};
}

// Chunks start early rather than run over the right edge, where the canvas is wide enough for that.
SOFTRASTER_INLINE int64_t first_chunk(Range columns, int64_t width) {
  const int64_t rounded = (columns.end - columns.begin + kLanes - 1) / kLanes * kLanes;
  const int64_t latest = width > rounded ? width - rounded : 0;
  return columns.begin < latest ? columns.begin : latest;
}

// All that the chunks of a segment's rows may touch, lanes beyond its support included.
SOFTRASTER_INLINE Range chunk_range(Range columns, int64_t width) {
  return {first_chunk(columns, width), columns.end + kLanes - 1};
}

// Rows for a table. A box's last bits depend on where its chunk begins, and must not on the band.
SOFTRASTER_INLINE Range aligned(Range rows) { return {rows.begin / kLanes * kLanes, rows.end}; }

// A soft box along one axis, indexed by the pixel. Rooms are rounded up: see table_room.
template <class T>
struct BoxTable {
  T* __restrict value;
  T* __restrict near_tail;
  T* __restrict far_tail;
};

SOFTRASTER_INLINE int64_t table_room(int64_t pixels) { return pixels + 2 * kLanes; }

template <bool with_tails, class T>
SOFTRASTER_INLINE void fill_table(Range pixels, double middle, const BoxShape<T>& shape,
                                  BoxTable<T> table) {
  for (int64_t chunk = pixels.begin; chunk < pixels.end; chunk += kLanes) {
    const T first = T(chunk + 0.5 - middle);
    for (int lane = 0; lane < kLanes; ++lane) {
      const Box<T> box = soft_box(T(fabs(first + T(lane))), shape);
      table.value[chunk + lane] = box.value;
      if (with_tails) {
        table.near_tail[chunk + lane] = box.near_tail;
        table.far_tail[chunk + lane] = box.far_tail;
      }
    }
  }
}

}  // namespace cpu
}  // namespace softraster
