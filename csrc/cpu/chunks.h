// The chunks that a segment reaches, row by row, in lists: finding them takes branches that no
// processor predicts, so it goes ahead of the maths, which then runs straight through a list.
#pragma once
#include <algorithm>

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
  // For Cover::kLine. The odds of a pixel, exp(k (offset - r)), are the product of those of its
  // chunk's middle and of what its lane adds to the exponent: kLanes numbers for the lanes, then
  // one for each chunk. Exponents, until they are raised.
  T* odds;
};

// How a segment's pixels are covered. Those of kAnyLine have an exponential each.
enum class Cover { kLine, kAnyLine, kDot, kCapsule };

constexpr double kMiddleLane = 0.5 * (kLanes - 1);

template <class T>
SOFTRASTER_INLINE Lanes<T> lane_numbers() {
  return Lanes<T>{0, 1, 2, 3, 4, 5, 6, 7};
}

template <class T>
SOFTRASTER_INLINE Cover cover_of(const Segment<T>& s) {
  if (s.kind == Kind::kDot) return Cover::kDot;
  if (s.kind == Kind::kCapsule) return Cover::kCapsule;
  // The exponent of a chunk's middle is clamped to twice the limit. Where it is, those of the lanes
  // added to it must leave all pixels beyond both edges by the limit.
  const double step = s.kind == Kind::kFlat ? fabs(s.slope) : 1;
  const bool fits = s.softness * (1 + kMiddleLane * step) <= ExpLimit<T>::value;
  return fits && s.window.softness > 0 ? Cover::kLine : Cover::kAnyLine;  // 0 * infinity is NaN
}

// Calls visit(cover) with it as a compile-time constant.
template <class Visit>
SOFTRASTER_INLINE void with_cover(Cover cover, const Visit& visit) {
  switch (cover) {
    case Cover::kLine:
      return visit(std::integral_constant<Cover, Cover::kLine>());
    case Cover::kAnyLine:
      return visit(std::integral_constant<Cover, Cover::kAnyLine>());
    case Cover::kDot:
      return visit(std::integral_constant<Cover, Cover::kDot>());
    case Cover::kCapsule:
      return visit(std::integral_constant<Cover, Cover::kCapsule>());
  }
}

// What the lanes of a chunk add to its Place. To be computed ahead of a loop over chunks: in it,
// the compiler might fuse product and sum, and not in all such loops.
template <class T>
struct LaneSteps {
  Lanes<T> first, second, odds;
};

template <Cover cover, class T>
SOFTRASTER_INLINE LaneSteps<T> lane_steps(const Segment<T>& s, const ChunkList<T>& list) {
  const Axes axes = axes_of(s.kind, s);
  const Lanes<T> lane = lane_numbers<T>();
  return {lane * T(axes.first_x), lane * T(axes.second_x),
          cover == Cover::kLine ? load(list.odds) : Lanes<T>{}};
}

// The odds of a chunk's pixels. They stop where their square would overflow: there is no coverage.
template <Cover cover, class T>
SOFTRASTER_INLINE Lanes<T> odds_of(const ChunkList<T>& list, int64_t i, const LaneSteps<T>& steps) {
  if (cover != Cover::kLine) return Lanes<T>{};
  const Lanes<T> odds = list.odds[kLanes + i] * steps.odds;
  const Lanes<T> most = Lanes<T>{} + T(ExpLimit<T>::exp_of_value);
  return odds < most ? odds : most;
}

template <Cover cover, class T>
SOFTRASTER_INLINE CoverageGrad<T> cover_lane(const Segment<T>& s, T first, T second, T odds,
                                             T box_x, T box_y) {
  if (cover == Cover::kLine) {
    return grid_coverage(first, soft_box_of(odds, s.window), box_x, box_y, s);
  }
  constexpr Kind kind = cover == Cover::kDot       ? Kind::kDot
                        : cover == Cover::kCapsule ? Kind::kCapsule
                                                   : Kind::kFlat;
  return cover_pixel(kind, s, first, second, box_x, box_y);
}

// Raises e to these powers. Some numbers behind the last are read and written, too: of kLanes.
template <class T>
SOFTRASTER_INLINE void raise(T* exponents, int64_t size) {
  constexpr T limit = T(2 * ExpLimit<T>::value);
  for (int64_t i = 0; i < size; i += kLanes) {
    T powers[kLanes];
    copy_lanes(exponents + i, powers);
    SOFTRASTER_AS_VECTORS
    for (int lane = 0; lane < kLanes; ++lane) {
      powers[lane] = fast_exp(clamp(powers[lane], -limit, limit));
    }
    copy_lanes(powers, exponents + i);
  }
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

template <class T>
using Half = Vector<T, kLanes / 2>;

// Products that are rounded before they are added to others. Else the compiler may fuse either of
// two products with their sum, and not the same one wherever find_block() is inlined. It heeds this
// for vectors, but not for single numbers in a loop that it turns into vector code.
SOFTRASTER_INLINE Half<double> rounded(const Half<double>& product) {
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
                                int64_t chunks_end, Range drawn, bool all_drawn, bool with_second,
                                bool with_odds)
      : window_(row_window(s)),
        axes_(axes_of(s.kind, s)),
        softness_(s.window.softness),
        from_edge_(T(s.softness * (kMiddleLane * axes_.first_x - s.window.half))),
        first_column_(static_cast<int32_t>(columns.begin)),
        columns_(static_cast<int32_t>(columns.end - columns.begin)),
        chunks_end_(static_cast<int32_t>(chunks_end)),
        drawn_begin_(static_cast<int32_t>(drawn.begin)),
        drawn_end_(static_cast<int32_t>(drawn.end)),
        most_(most_chunks(window_, columns_, drawn_end_ - drawn_begin_)),
        block_begin_(static_cast<int32_t>(rows.block_begin()) - kLanes),
        rows_begin_(static_cast<int32_t>(rows.begin)),
        rows_end_(static_cast<int32_t>(rows.end)),
        with_second_(with_second),
        with_odds_(with_odds),
        all_drawn_(all_drawn) {}

  // Lists the next chunks of the same segment; none where it is done.
  SOFTRASTER_INLINE void list_next(const Segment<T>& s, ChunkList<T>& list) {
    int32_t size = 0;
    while (size <= kListed - kLanes && (nth_ < most_ || find_block(s))) {
      size = list_nth(list, size);
    }
    list.size = size;
  }
  SOFTRASTER_INLINE bool done() const {
    return nth_ >= most_ && block_begin_ + kLanes >= rows_end_;
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
      const int32_t chunks = (to - from + kLanes - 1) >> kLogLanes;
      const bool reached = low < last && high >= 0 && to > from && i >= before && i < behind;
      count[i] = reached ? chunks : 0;
      const int32_t room = end - chunks * kLanes, latest = room > 0 ? room : 0;
      column[i] = first_column + from < latest ? first_column + from : latest;
    }
    count_ = load(count), column_ = load(column);
    if (__builtin_expect(!all_drawn_, 0)) skip_undrawn();
    const double x = 0.5 - s.mid_x, y = block_begin_ + 0.5 - s.mid_y;
    first_ = on_axis(axes_.first_x, axes_.first_y, x, y);
    if (with_second_) second_ = on_axis(axes_.second_x, axes_.second_y, x, y);
    nth_ = 0;
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

  // What lies at (x, y) from the first pixel's centre of each row's first chunk. In two halves:
  // near a vector of 512 bits, others have a port less.
  SOFTRASTER_INLINE Lanes<T> on_axis(double axis_x, double axis_y, double x, double y) const {
    const auto half = [&](const Half<int32_t>& column,
                          const Half<double>& row) SOFTRASTER_INLINE_LAMBDA {
      const Half<double> columns = __builtin_convertvector(column, Half<double>) + x;
      return __builtin_convertvector(rounded(axis_x * columns) + axis_y * (row + y), Half<T>);
    };
    return __builtin_shufflevector(
        half(__builtin_shufflevector(column_, column_, 0, 1, 2, 3), Half<double>{0, 1, 2, 3}),
        half(__builtin_shufflevector(column_, column_, 4, 5, 6, 7), Half<double>{4, 5, 6, 7}), 0, 1,
        2, 3, 4, 5, 6, 7);
  }

  // No row has more chunks than this: known before the rows are found, so that no branch has to
  // wait for them.
  static SOFTRASTER_INLINE int32_t most_chunks(const RowWindow& window, int32_t columns,
                                               int32_t drawn) {
    const float arm = 1.00001f * float(window.arm) +
                      1e-5f * (float(columns) + kLanes * fabsf(float(window.step)));
    const float most = 2 * arm + 1 < float(columns) ? 2 * arm + 1 : float(columns);
    return std::min(static_cast<int32_t>(most) + kLanes - 1, drawn + 2 * (kLanes - 1)) >> kLogLanes;
  }

  // Lists the nth chunk of each row that has so many.
  SOFTRASTER_INLINE int32_t list_nth(ChunkList<T>& list, int32_t at) {
    const int32_t nth = nth_++;
    const uint32_t rows = lanes_above(count_, nth);
    const Lanes<int32_t> order = load(kPacking.order[rows]);
    store(order + block_begin_, list.row + at);
    const Lanes<int32_t> chunk = skipped_ + nth;
    const Lanes<T> chunks = __builtin_convertvector(chunk, Lanes<T>);
    store_packed<int32_t>(column_ + chunk * kLanes, order, list.column + at);
    const Lanes<T> first = first_ + chunks * T(kLanes * axes_.first_x);
    store_packed<T>(first, order, list.first + at);
    if (with_odds_) {
      store_packed<T>(first * softness_ + from_edge_, order, list.odds + kLanes + at);
    }
    if (with_second_) {
      store_packed<T>(second_ + chunks * T(kLanes * axes_.second_x), order, list.second + at);
    }
    return at + __builtin_popcount(rows);
  }

  RowWindow window_;
  Axes axes_;
  T softness_, from_edge_;           // the exponent of a chunk's odds: softness * first + from_edge
  int32_t first_column_, columns_;   // that the segment reaches
  int32_t chunks_end_;               // where the last chunk of a row ends, if it can
  int32_t drawn_begin_, drawn_end_;  // columns of which a chunk must have some
  int32_t most_;                     // chunks of a row
  int32_t block_begin_;              // its first row; a block before the first one at the beginning
  int32_t rows_begin_, rows_end_;    // of the band
  bool with_second_, with_odds_, all_drawn_;
  // By row of the block: how many chunks are drawn, how many before these are not, and where the
  // first of all is.
  Lanes<int32_t> count_, skipped_ = {}, column_;
  Lanes<T> first_, second_;
  int32_t nth_ = INT32_MAX;  // chunk of each row, the next one to be listed
};

}  // namespace cpu
}  // namespace softraster
