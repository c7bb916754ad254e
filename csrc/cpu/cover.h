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

// place is that of the chunk's first lane.
template <Kind kind, class T>
SOFTRASTER_INLINE CoverageGrad<T> cover_lane(const Segment<T>& s, const Place<T>& place, int lane,
                                             T box_x, T box_y) {
  return cover_pixel(kind, s, place.first + T(lane) * place.first_by_column,
                     place.second + T(lane) * place.second_by_column, box_x, box_y);
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
