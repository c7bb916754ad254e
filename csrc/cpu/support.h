// Soft boxes over the rows and columns of a canvas, as tables. Pixels are visited in chunks of
// kLanes in a row, the unit that compilers turn into vector code.
#pragma once
#include <cstring>
#include <type_traits>

#include "../range.h"
#include "parallel.h"

namespace softraster {
namespace cpu {

constexpr int kLogLanes = 3, kLanes = 1 << kLogLanes;

// Numbers as a vector: where compilers take arrays apart instead.
template <class T, int size>
struct VectorOf {
  typedef T Type __attribute__((vector_size(size * sizeof(T))));
};
template <class T, int size>
using Vector = typename VectorOf<T, size>::Type;
template <class T>
using Lanes = Vector<T, kLanes>;  // one a lane

// For numbers in memory that are loaded and stored as vectors: across two lines of the cache, what
// was just stored is late.
template <class T>
struct alignas(kLanes * sizeof(T)) AlignedLanes {
  T numbers[kLanes];
};

// An integer as wide as T: vectors of both have the same masks.
template <class T>
using LaneIndex = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// Before a loop over lanes that chooses between numbers: unrolled, it would not become vector code.
#define SOFTRASTER_AS_VECTORS _Pragma("GCC unroll 1")

// How a vector is returned differs between instruction sets: not where calls are inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

template <class T>
SOFTRASTER_INLINE Lanes<T> load(const T* from) {
  Lanes<T> lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
template <class T, class Values>
SOFTRASTER_INLINE void store(const Values& lanes, T* to) {
  static_assert(sizeof lanes == kLanes * sizeof(T), "one number a lane");
  std::memcpy(to, &lanes, sizeof lanes);
}

// Moves a chunk's numbers. Compilers make vector code of loops over the lanes of local arrays, but
// not of what other pointers may point to: so that is copied first, in one instruction. Not memcpy
// from one to the other, which may copy halves, and these cannot be loaded as one at once.
template <class T>
SOFTRASTER_INLINE void copy_lanes(const T* from, T* to) {
  store(load(from), to);
}

// The same where only the first `lanes` lie on the canvas; it may be more than kLanes. The others
// are loaded as 0 and not stored.
template <class T>
SOFTRASTER_INLINE void load_lanes(const T* from, int64_t lanes, T* to) {
  if (__builtin_expect(lanes >= kLanes, 1)) return copy_lanes(from, to);
  for (int64_t lane = 0; lane < kLanes; ++lane) to[lane] = lane < lanes ? from[lane] : T(0);
}
template <class T>
SOFTRASTER_INLINE Lanes<T> load(const T* from, int64_t lanes) {
  if (__builtin_expect(lanes >= kLanes, 1)) return load(from);
  T numbers[kLanes];
  load_lanes(from, lanes, numbers);
  return load(numbers);
}
template <class T>
SOFTRASTER_INLINE void store_lanes(const T* from, int64_t lanes, T* to) {
  if (__builtin_expect(lanes >= kLanes, 1)) return copy_lanes(from, to);
  for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = from[lane];
}
template <class T, class Values>
SOFTRASTER_INLINE void store(const Values& values, int64_t lanes, T* to) {
  if (__builtin_expect(lanes >= kLanes, 1)) return store(values, to);
  T numbers[kLanes];
  store(values, numbers);
  store_lanes(numbers, lanes, to);
}

// For what was computed of the others, which may be NaN.
template <class T>
SOFTRASTER_INLINE void clear_beyond(int64_t lanes, T* numbers) {
  for (int64_t lane = lanes; lane < kLanes; ++lane) numbers[lane] = 0;
}

// Pixels as so many whole chunks, the last one filled up.
SOFTRASTER_INLINE int64_t whole_chunks(int64_t pixels) { return (pixels + kLanes - 1) & -kLanes; }

// Where the pixels of a canvas, or of some of its columns, lie in memory.
struct Layout {
  Range columns;    // chunks without any of these are not drawn
  int64_t row_end;  // the column where memory for a row ends
  int64_t width;    // numbers from a row to the next
  int64_t first;    // row * width + column of what is at 0

  SOFTRASTER_INLINE int64_t at(int64_t row, int64_t column) const {
    return row * width + column - first;
  }
  // Numbers from this column to the end of a row.
  SOFTRASTER_INLINE int64_t lanes(int64_t column) const { return row_end - column; }
};

// Where the chunks of a segment's rows lie: the columns that it reaches, made whole chunks, which
// start early rather than run over the right edge where the canvas is wide enough for that.
SOFTRASTER_INLINE Range chunk_range(Range columns, int64_t width) {
  const int64_t rounded = whole_chunks(columns.end - columns.begin);
  const int64_t latest = width > rounded ? width - rounded : 0;
  const int64_t begin = columns.begin < latest ? columns.begin : latest;
  return {begin, begin + rounded};
}

// Of these, the range of those that have some of `columns`.
SOFTRASTER_INLINE Range chunks_with(Range columns, Range chunks) {
  const int64_t before = columns.begin - (kLanes - 1) - chunks.begin;
  const int64_t end = columns.end + (kLanes - 1);
  return {before > 0 ? chunks.begin + (before & -kLanes) : chunks.begin,
          end < chunks.end ? end : chunks.end};
}

// The rows of a band that a segment reaches. Blocks of kLanes rows are counted from the first row
// that it reaches on the canvas: last bits depend on where a block begins, and must not on the
// band.
struct BandRows {
  int64_t begin, end;
  int64_t first;

  SOFTRASTER_INLINE BandRows(Range reached, Range band)
      : begin(reached.begin > band.begin ? reached.begin : band.begin),
        end(reached.end < band.end ? reached.end : band.end),
        first(reached.begin) {}

  SOFTRASTER_INLINE bool empty() const { return begin >= end; }
  SOFTRASTER_INLINE int64_t block_begin() const { return first + ((begin - first) & -kLanes); }
};

// A soft box along one axis and the derivatives of its logarithm; at(pixel) is the index.
template <class T>
struct BoxTable {
  int64_t begin;  // the first pixel
  T* value;
  T* by_mid;
  T* by_half;
  T* by_softness;

  SOFTRASTER_INLINE int64_t at(int64_t pixel) const { return pixel - begin; }
};

// Numbers in an array of a table.
SOFTRASTER_INLINE int64_t table_size(Range pixels) {
  return pixels.empty() ? 0 : whole_chunks(pixels.end - pixels.begin);
}
SOFTRASTER_INLINE int64_t largest_table(int64_t pixels) { return pixels + 2 * kLanes; }

// Chunks of soft boxes, of many tables: computed in one loop, for one loop a table would end in a
// branch that no processor predicts.
template <class T>
struct ListedBoxes {
  const T* first;           // of the first lane, from the box's middle
  const int32_t* shape_of;  // index in shapes
  const BoxShape<T>* shapes;
};

// Writes the nth listed chunk to value + n * kLanes, and its derivatives, in the order of BoxTable,
// one, two and three times `next` behind it.
template <bool with_grads, class T>
SOFTRASTER_INLINE void fill_boxes(const ListedBoxes<T> listed, int64_t chunks, T* value,
                                  int64_t next) {
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const T first = listed.first[chunk];
    const BoxShape<T> shape = listed.shapes[listed.shape_of[chunk]];
    T values[kLanes], by_mid[kLanes], by_half[kLanes], by_softness[kLanes];
    SOFTRASTER_AS_VECTORS
    for (int lane = 0; lane < kLanes; ++lane) {
      const T from_mid = first + T(lane), distance = T(fabs(from_mid));
      const Box<T> box = soft_box(distance, shape);
      const T by_distance = shape.softness * log_box_by_distance(box);
      values[lane] = box.value;
      by_mid[lane] = from_mid < 0 ? by_distance : -by_distance;
      by_half[lane] = shape.softness * log_box_by_half(box);
      by_softness[lane] = log_box_by_softness(box, distance, shape.half);
    }
    T* const to = value + chunk * kLanes;
    copy_lanes(values, to);
    if (with_grads) {
      copy_lanes(by_mid, to + next);
      copy_lanes(by_half, to + 2 * next);
      copy_lanes(by_softness, to + 3 * next);
    }
  }
}

}  // namespace cpu
}  // namespace softraster
