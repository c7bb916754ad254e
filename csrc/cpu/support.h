// Which pixels of a canvas a segment can reach, and its soft boxes over them as tables.
// Rows and columns are visited in chunks of kLanes, the unit that compilers turn into vector code.
#pragma once
#include "../range.h"
#include "parallel.h"

namespace softraster {
namespace cpu {

constexpr int kLanes = 8;

// Within a row the line leaves an interval of columns: its centre moves by `step` a row.
struct RowWindow {
  double step, arm;
};

template <class T>
SOFTRASTER_INLINE RowWindow row_window(const Segment<T>& s) {
  if (s.kind == Kind::kFlat || s.kind == Kind::kSteep) {
    if (s.kind == Kind::kSteep) return {s.slope, s.reach};
    const double step = fabs(s.slope) > 1e-30 ? 1 / s.slope : 1e30;  // finite: 0 * step is 0
    return {step, s.reach * fabs(step)};
  }
  // A capsule's reach is measured at right angles to the line, not along a row.
  const double rise = fabs(s.along_y) > 1e-30 ? s.along_y : 1e-30;
  return {clamp(s.along_x / rise, -1e30, 1e30), s.reach / fabs(rise)};
}

template <Kind kind, class T>
SOFTRASTER_INLINE Range visited_columns(const Segment<T>& s, const RowWindow& window, int64_t row,
                                        Range columns) {
  if (kind == Kind::kDot) return columns;
  const double middle = s.mid_x + window.step * (row + 0.5 - s.mid_y);
  return clip(middle - window.arm, middle + window.arm, columns);
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
