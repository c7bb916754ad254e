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

// What the lanes of a chunk add to its Place. To be computed ahead of a loop over chunks: in it,
// the compiler might fuse product and sum, and not in all such loops.
template <class T>
struct LaneSteps {
  Lanes<T> first, second;
};

template <class T>
SOFTRASTER_INLINE LaneSteps<T> lane_steps(Kind kind, const Segment<T>& s) {
  const Axes axes = axes_of(kind, s);
  const Lanes<T> lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return {lane * T(axes.first_x), lane * T(axes.second_x)};
}

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

// Products that are rounded before they are added to others. Else either may be fused with the sum,
// and not the same one wherever find_block() is inlined. Not number by number: of a loop that the
// compiler turns into vector code, it forgets about this.
SOFTRASTER_INLINE Lanes<double> rounded(const Lanes<double>& product) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_assoc_barrier)
  return __builtin_assoc_barrier(product);
#elif __has_builtin(__arithmetic_fence)
  return __arithmetic_fence(product);
#endif
#endif
  return product;
}

// Bit i is set where values[i] > bound.
SOFTRASTER_INLINE uint32_t lanes_above(const Lanes<int32_t>& values, int32_t bound) {
  const Lanes<int8_t> above = __builtin_convertvector(values > bound, Lanes<int8_t>);  // 0 or -1
  uint64_t bytes;
  std::memcpy(&bytes, &above, sizeof bytes);
  // Byte i keeps bit i, and the product's highest byte is the sum of all bytes.
  return static_cast<uint32_t>((bytes & 0x8040201008040201) * 0x0101010101010101 >> 56);
}

// order[mask]: the lanes of the mask, one after the other.
struct Packing {
  int32_t order[1 << kLanes][kLanes] = {};

  constexpr Packing() {
    for (int mask = 0; mask < 1 << kLanes; ++mask) {
      int packed = 0;
      for (int lane = 0; lane < kLanes; ++lane) {
        if (mask >> lane & 1) order[mask][packed++] = lane;
      }
    }
  }
};
inline constexpr Packing kPacking;

// Writes the lanes of `order` to `to`, and what must not matter after them.
template <class T>
SOFTRASTER_INLINE void store_packed(const Lanes<T>& values, const Lanes<int32_t>& order, T* to) {
#if defined(__clang__)
  for (int lane = 0; lane < kLanes; ++lane) to[lane] = values[order[lane]];
#else
  store(__builtin_shuffle(values, __builtin_convertvector(order, Lanes<LaneIndex<T> >)), to);
#endif
}

// Walks through the chunks of a segment, kLanes rows at a time: of these rows first the first
// chunk of each, then the second of those that have two, and so on.
template <class T>
class ChunkFinder {
 public:
  ChunkFinder() = default;
  SOFTRASTER_INLINE ChunkFinder(const Segment<T>& s, BandRows rows, Range columns,
                                int64_t chunks_end, Range drawn, bool all_drawn, bool with_second)
      : window_(row_window(s)),
        axes_(axes_of(s.kind, s)),
        first_column_(static_cast<int32_t>(columns.begin)),
        columns_(static_cast<int32_t>(columns.end - columns.begin)),
        chunks_end_(static_cast<int32_t>(chunks_end)),
        drawn_begin_(static_cast<int32_t>(drawn.begin)),
        drawn_end_(static_cast<int32_t>(drawn.end)),
        block_begin_(static_cast<int32_t>(rows.block_begin()) - kLanes),
        rows_begin_(static_cast<int32_t>(rows.begin)),
        rows_end_(static_cast<int32_t>(rows.end)),
        with_second_(with_second),
        all_drawn_(all_drawn) {}

  // Lists the next chunks of the same segment; none where it is done.
  SOFTRASTER_INLINE void list_next(const Segment<T>& s, ChunkList<T>& list) {
    int32_t size = 0;
    while (size <= kListed - kLanes && (rows_left_ != 0 || find_block(s))) {
      size = list_nth(list, size);
    }
    list.size = size;
  }
  SOFTRASTER_INLINE bool done() const {
    return rows_left_ == 0 && block_begin_ + kLanes >= rows_end_;
  }

 private:
  // The chunks of the next rows, without a branch, so that it becomes vector code.
  SOFTRASTER_INLINE bool find_block(const Segment<T>& s) {
    if (block_begin_ + kLanes >= rows_end_) return false;
    block_begin_ += kLanes;
    // As clip() in range.h, from first_column_ on; in float, and so a little wider.
    const double start = s.mid_x - 0.5 + window_.step * (block_begin_ + 0.5 - s.mid_y);
    const float middle = float(clamp(start - first_column_, -1e37, 1e37));
    const float step = float(window_.step), last = float(columns_);
    const float arm = float(window_.arm) + 1e-6f * (fabsf(middle) + kLanes * fabsf(step));
    const int32_t first_column = first_column_, columns = columns_, end = chunks_end_;
    const int32_t before = rows_begin_ - block_begin_, behind = rows_end_ - block_begin_;
    int32_t count[kLanes], column[kLanes];
    for (int32_t i = 0; i < kLanes; ++i) {
      const float low = middle + step * float(i) - arm, high = middle + step * float(i) + arm;
      const int32_t from = static_cast<int32_t>(clamp(low, 0.f, last)) + (low > 0);
      const int32_t above = static_cast<int32_t>(clamp(high, 0.f, last)) + 1;
      const int32_t to = above < columns ? above : columns;
      const int32_t chunks = (to - from + kLanes - 1) / kLanes;
      const bool reached = low < last && high >= 0 && to > from && i >= before && i < behind;
      count[i] = reached ? chunks : 0;
      const int32_t room = end - count[i] * kLanes, latest = room > 0 ? room : 0;
      column[i] = first_column + from < latest ? first_column + from : latest;
    }
    count_ = load(count), column_ = load(column);
    if (__builtin_expect(!all_drawn_, 0)) skip_undrawn();
    const Lanes<double> x = __builtin_convertvector(column_, Lanes<double>) + (0.5 - s.mid_x);
    const Lanes<double> y = Lanes<double>{0, 1, 2, 3, 4, 5, 6, 7} + (block_begin_ + 0.5 - s.mid_y);
    first_ = on_axis(axes_.first_x, axes_.first_y, x, y);
    if (with_second_) second_ = on_axis(axes_.second_x, axes_.second_y, x, y);
    nth_ = 0;
    rows_left_ = lanes_above(count_, 0);
    return true;
  }

  // Leaves out the chunks of the block's rows that have none of the drawn columns.
  SOFTRASTER_INLINE void skip_undrawn() {
    const Lanes<int32_t> before = (drawn_begin_ - column_) >> kLogLanes;
    const Lanes<int32_t> to_end = (drawn_end_ - column_ + (kLanes - 1)) >> kLogLanes;
    const Lanes<int32_t> behind = count_ - to_end;
    skipped_ = before & (before > 0);
    count_ -= (behind & (behind > 0)) + skipped_;
  }

  static SOFTRASTER_INLINE Lanes<T> on_axis(double axis_x, double axis_y, const Lanes<double>& x,
                                            const Lanes<double>& y) {
    return __builtin_convertvector(rounded(axis_x * x) + axis_y * y, Lanes<T>);
  }

  // Lists the nth chunk of each row that has so many.
  SOFTRASTER_INLINE int32_t list_nth(ChunkList<T>& list, int32_t at) {
    const int32_t nth = nth_++;
    const Lanes<int32_t> order = load(kPacking.order[rows_left_]);
    store(order + block_begin_, list.row + at);
    const Lanes<int32_t> chunk = skipped_ + nth;
    const Lanes<T> chunks = __builtin_convertvector(chunk, Lanes<T>);
    store_packed<int32_t>(column_ + chunk * kLanes, order, list.column + at);
    store_packed<T>(first_ + chunks * T(kLanes * axes_.first_x), order, list.first + at);
    if (with_second_) {
      store_packed<T>(second_ + chunks * T(kLanes * axes_.second_x), order, list.second + at);
    }
    const int32_t size = at + __builtin_popcount(rows_left_);
    rows_left_ = lanes_above(count_, nth + 1);
    return size;
  }

  RowWindow window_;
  Axes axes_;
  int32_t first_column_, columns_;   // that the segment reaches
  int32_t chunks_end_;               // where the last chunk of a row ends, if it can
  int32_t drawn_begin_, drawn_end_;  // columns of which a chunk must have some
  int32_t block_begin_;              // its first row; a block before the first one at the beginning
  int32_t rows_begin_, rows_end_;    // of the band
  bool with_second_, all_drawn_;
  // By row of the block: how many chunks are drawn, how many before these are not, and where the
  // first of all is.
  Lanes<int32_t> count_, skipped_ = {}, column_;
  Lanes<T> first_, second_;
  int32_t nth_;
  uint32_t rows_left_ = 0;  // that have an nth chunk
};

}  // namespace cpu
}  // namespace softraster
