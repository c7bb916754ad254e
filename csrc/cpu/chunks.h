// The chunks that a segment reaches, row by row, in lists: finding them takes branches that no
// processor predicts, so it goes ahead of the maths, which then runs straight through a list.
#pragma once
#include "support.h"

namespace softraster {
namespace cpu {

// As long as a list may be for sums in T over it not to drift.
constexpr int kListed = 64;

template <class T>
struct ChunkList {
  int32_t size;
  int32_t row[kListed], column[kListed];  // of the first lane
  T first[kListed], second[kListed];      // its Place
};

// Within a row the line leaves an interval of columns: its centre moves by `step` a row.
struct RowWindow {
  double step, arm;
};

template <class T>
SOFTRASTER_INLINE RowWindow row_window(const Segment<T>& s) {
  if (s.kind == Kind::kDot) return {0, HUGE_VAL};
  if (s.kind == Kind::kSteep) return {s.slope, s.reach};
  if (s.kind == Kind::kFlat) {
    const double step = fabs(s.slope) > 1e-30 ? 1 / s.slope : 1e30;  // finite: 0 * step is 0
    return {step, s.reach * fabs(step)};
  }
  // A capsule's reach is measured at right angles to the line, not along a row.
  const double rise = fabs(s.along_y) > 1e-30 ? s.along_y : 1e-30;
  return {clamp(s.along_x / rise, -1e30, 1e30), s.reach / fabs(rise)};
}

// A product that is rounded before it is added to another. Else either of them may be fused with
// the sum, and not the same one wherever find_block() is inlined.
SOFTRASTER_INLINE double rounded(double product) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_assoc_barrier)
  return __builtin_assoc_barrier(product);
#elif __has_builtin(__arithmetic_fence)
  return __arithmetic_fence(product);
#endif
#endif
  return product;
}

// Walks through the chunks of a segment, kLanes rows at a time.
template <class T>
class ChunkFinder {
 public:
  ChunkFinder() = default;
  SOFTRASTER_INLINE ChunkFinder(const Segment<T>& s, Range rows, Range columns, int64_t width)
      : window_(row_window(s)),
        axes_(axes_of(s.kind, s)),
        first_column_(static_cast<int32_t>(columns.begin)),
        columns_(static_cast<int32_t>(columns.end - columns.begin)),
        width_(static_cast<int32_t>(width)),
        row_(static_cast<int32_t>(rows.begin)),
        block_end_(row_),
        rows_end_(static_cast<int32_t>(rows.end)) {}

  // Lists the next chunks of the same segment. A list that is not full is the last.
  SOFTRASTER_INLINE void list_next(const Segment<T>& s, ChunkList<T>& list) {
    list.size = 0;
    while (list.size < kListed && (row_ < block_end_ || find_block(s))) list_row(list);
  }

 private:
  // The chunks of the next rows, without a branch, so that it becomes vector code. Blocks begin at
  // multiples of kLanes, so that bits do not depend on the band.
  SOFTRASTER_INLINE bool find_block(const Segment<T>& s) {
    if (row_ >= rows_end_) return false;
    block_begin_ = row_ / kLanes * kLanes;
    block_end_ = block_begin_ + kLanes < rows_end_ ? block_begin_ + kLanes : rows_end_;
    // As clip() in range.h, from first_column_ on; in float, and so a little wider.
    const double start = s.mid_x - 0.5 + window_.step * (block_begin_ + 0.5 - s.mid_y);
    const float middle = float(clamp(start - first_column_, -1e37, 1e37));
    const float step = float(window_.step), last = float(columns_);
    const float arm = float(window_.arm) + 1e-6f * (fabsf(middle) + kLanes * fabsf(step));
    const int32_t first_column = first_column_, columns = columns_, width = width_;
    int32_t count[kLanes], column[kLanes];
    for (int32_t i = 0; i < kLanes; ++i) {
      const float low = middle + step * float(i) - arm, high = middle + step * float(i) + arm;
      const int32_t from = static_cast<int32_t>(clamp(low, 0.f, last)) + (low > 0);
      const int32_t above = static_cast<int32_t>(clamp(high, 0.f, last)) + 1;
      const int32_t to = above < columns ? above : columns;
      const int32_t chunks = (to - from + kLanes - 1) / kLanes;
      count[i] = low < last && high >= 0 && to > from ? chunks : 0;
      const int32_t room = width - count[i] * kLanes, latest = room > 0 ? room : 0;
      column[i] = first_column + from;
      column[i] = column[i] < latest ? column[i] : latest;  // as first_chunk()
    }
    const Axes axes = axes_;
    const double x0 = 0.5 - s.mid_x, y0 = block_begin_ + 0.5 - s.mid_y;
    T first[kLanes], second[kLanes];
    for (int32_t i = 0; i < kLanes; ++i) {
      const double x = column[i] + x0, y = i + y0;
      first[i] = T(rounded(axes.first_x * x) + axes.first_y * y);
      second[i] = T(rounded(axes.second_x * x) + axes.second_y * y);
    }
    copy_lanes(count, count_), copy_lanes(column, column_);
    copy_lanes(first, first_), copy_lanes(second, second_);
    return true;
  }

  SOFTRASTER_INLINE void list_row(ChunkList<T>& list) {
    const int32_t i = row_ - block_begin_, at = list.size, left = count_[i] - listed_;
    const T first_step = T(kLanes * axes_.first_x), second_step = T(kLanes * axes_.second_x);
    if (count_[i] <= 2 && at + 2 <= kListed &&
        listed_ == 0) {  // nearly always: two without a branch
      list.row[at] = row_, list.row[at + 1] = row_;
      list.column[at] = column_[i], list.column[at + 1] = column_[i] + kLanes;
      list.first[at] = first_[i], list.first[at + 1] = first_[i] + first_step;
      list.second[at] = second_[i], list.second[at + 1] = second_[i] + second_step;
      list.size += count_[i];
      ++row_;
      return;
    }
    // Counted from the row's first chunk, so that bits do not depend on where a list ends.
    const int32_t room = kListed - at, taken = left < room ? left : room;
    for (int32_t chunk = 0; chunk < taken; ++chunk) {
      const int32_t nth = listed_ + chunk;
      list.row[at + chunk] = row_, list.column[at + chunk] = column_[i] + nth * kLanes;
      list.first[at + chunk] = first_[i] + T(nth) * first_step;
      list.second[at + chunk] = second_[i] + T(nth) * second_step;
    }
    list.size += taken;
    listed_ = taken < left ? listed_ + taken : 0;
    row_ += taken == left;
  }

  RowWindow window_;
  Axes axes_;
  int32_t first_column_, columns_;  // that the segment reaches
  int32_t width_;                   // of the canvas
  int32_t row_, block_begin_, block_end_, rows_end_;
  int32_t listed_ = 0;  // chunks of the row in lists that were full
  // By row of the block: how many chunks, and where the first of them is.
  int32_t count_[kLanes], column_[kLanes];
  T first_[kLanes], second_[kLanes];
};

}  // namespace cpu
}  // namespace softraster
