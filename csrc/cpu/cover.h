// A chunk of pixels under one segment: where its lanes lie, and their coverage with derivatives.
// The loops over segments, rows and chunks are the passes'.
#pragma once
#include <type_traits>

#include "support.h"

namespace softraster {
namespace cpu {

// The boxes of a segment under kGrid, indexed by column and by row.
template <class T>
struct Tables {
  BoxTable<T> x, y;
};

template <bool with_tails, class T>
SOFTRASTER_INLINE void fill_tables(const Segment<T>& s, Range rows, Range columns, int64_t width,
                                   const Tables<T>& tables) {
  if (s.kind == Kind::kCapsule) return;
  fill_table<with_tails>(chunk_range(columns, width), s.mid_x, s.box_x, tables.x);
  fill_table<with_tails>(aligned(rows), s.mid_y, s.box_y, tables.y);
}

// Coordinates of a chunk's lanes: those of the first, and what each further lane adds. kFlat and
// kSteep: the offset from the line. kCapsule: along and across the segment. In double at first: far
// from the midpoint, the small offset is the difference of large numbers.
template <class T>
struct ChunkPlace {
  T first, first_step;
  T second, second_step;
};

template <Kind kind, class T>
SOFTRASTER_INLINE ChunkPlace<T> place_chunk(const Segment<T>& s, int64_t row, int64_t chunk) {
  const double x = chunk + 0.5 - s.mid_x, y = row + 0.5 - s.mid_y;
  if (kind == Kind::kFlat) return {T(s.slope * x - y), T(s.slope), T(0), T(0)};
  if (kind == Kind::kSteep) return {T(s.slope * y - x), T(-1), T(0), T(0)};
  if (kind == Kind::kDot) return {};
  return {T(s.along_x * x + s.along_y * y), T(s.along_x), T(s.along_x * y - s.along_y * x),
          T(-s.along_y)};
}

template <Kind kind, class T>
SOFTRASTER_INLINE CoverageGrad<T> cover_lane(const Segment<T>& s, const ChunkPlace<T>& place,
                                             int lane, T box_x, T box_y) {
  if (kind == Kind::kDot) return {dot_coverage(box_x, box_y), T(0), T(0), T(0), T(0), T(0)};
  const T first = place.first + T(lane) * place.first_step;
  if (kind == Kind::kCapsule) {
    return capsule_coverage(first, place.second + T(lane) * place.second_step, s);
  }
  return grid_coverage(first, box_x, box_y, s);
}

// Calls visit(kind) with the segment's kind as a compile-time constant.
template <class T, class Visit>
SOFTRASTER_INLINE void with_kind(const Segment<T>& s, const Visit& visit) {
  switch (s.kind) {
    case Kind::kFlat:
      return visit(std::integral_constant<Kind, Kind::kFlat>());
    case Kind::kSteep:
      return visit(std::integral_constant<Kind, Kind::kSteep>());
    case Kind::kDot:
      return visit(std::integral_constant<Kind, Kind::kDot>());
    case Kind::kCapsule:
      return visit(std::integral_constant<Kind, Kind::kCapsule>());
  }
}

}  // namespace cpu
}  // namespace softraster
