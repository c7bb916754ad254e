// The gradient of one segment, gathered over the pixels that it reaches, which are drawn anew.
// How the canvas's gradient becomes that of a coverage is the composites': see the passes.
#pragma once
#include <cstring>
#include <vector>

#include "forward.h"

namespace softraster {
namespace cpu {

// Sums in T drift when a segment covers very many pixels: after so many chunks or rows they are
// folded into double.
constexpr int kChunksPerFold = 64;

// One sum a lane. A vector type, because compilers take arrays apart that live through a loop.
template <class T>
struct LaneSum {
  typedef T Vector __attribute__((vector_size(kLanes * sizeof(T))));
  Vector lanes = {};

  SOFTRASTER_INLINE void add(const T* values) {
    Vector more;
    std::memcpy(&more, values, sizeof more);
    lanes += more;
  }
  SOFTRASTER_INLINE double take() {
    static_assert(kLanes == 8, "the sum below has eight terms");
    typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double))));
    const Doubles d = __builtin_convertvector(lanes, Doubles);
    lanes = Vector{};
    return ((d[0] + d[4]) + (d[1] + d[5])) + ((d[2] + d[6]) + (d[3] + d[7]));
  }
};

// Named as in CoverageGrad; arm: kFlat, kSteep: by_first times the distance along the longer axis,
// kCapsule: by_first times lever.
template <class T>
struct LaneSums {
  LaneSum<T> ink, by_first, by_second, arm, second_lever, by_softness, by_width;
  LaneSum<T> by_mid_y, by_half_y;  // kFlat, kSteep, kDot
};

template <class T>
struct Workspace {
  Tables<T> tables;
  T* column_ink;       // by column: the ink that tables.x's derivatives are weighted with
  T* weights;          // (channels, kLanes): d loss / d (coverage * color), null without colors
  T* color_lanes;      // (channels, kLanes): sums for color_sums, null without colors
  double* color_sums;  // (channels,): sums of weight * coverage over the segment
  int64_t channels;
};

// What a segment has summed up so far, in double.
struct Gathered {
  double ink, by_first, by_second, arm, second_lever, by_softness, by_width;
  GridSums grid;
};

template <Kind kind, class T>
SOFTRASTER_INLINE void fold_lanes(LaneSums<T>& lanes, const Workspace<T>& work, Gathered& sums) {
  sums.ink += lanes.ink.take();
  sums.by_softness += lanes.by_softness.take();
  if (kind != Kind::kDot) {
    sums.by_first += lanes.by_first.take();
    sums.arm += lanes.arm.take();
  }
  if (kind == Kind::kCapsule) {
    sums.by_second += lanes.by_second.take();
    sums.second_lever += lanes.second_lever.take();
    sums.by_width += lanes.by_width.take();
  } else {
    sums.grid.by_mid_y += lanes.by_mid_y.take();
    sums.grid.by_half_y += lanes.by_half_y.take();
  }
  for (int64_t c = 0; work.weights && c < work.channels; ++c) {
    for (int lane = 0; lane < kLanes; ++lane) {
      work.color_sums[c] += work.color_lanes[c * kLanes + lane];
      work.color_lanes[c * kLanes + lane] = 0;
    }
  }
}

template <class T>
SOFTRASTER_INLINE void fold_columns(const Segment<T>& s, Range columns, const Workspace<T>& work,
                                    Gathered& sums) {
  const BoxTable<T>& table = work.tables.x;
  LaneSum<T> mid, half, softness;
  double by_mid = 0, by_half = 0, by_softness = 0;
  int chunks = 0;
  for (int64_t chunk = columns.begin; chunk < columns.end; chunk += kLanes) {
    const T first = T(chunk + 0.5 - s.mid_x);
    T mids[kLanes], halves[kLanes], softnesses[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t column = chunk + lane;
      const T ink = work.column_ink[column], from_mid = first + T(lane);
      const Box<T> box = {table.value[column], table.near_tail[column], table.far_tail[column]};
      const T by_distance = ink * log_box_by_distance(box);
      mids[lane] = from_mid < 0 ? by_distance : -by_distance;
      halves[lane] = ink * log_box_by_half(box);
      softnesses[lane] = ink * log_box_by_softness(box, T(fabs(from_mid)), s.box_x.half);
      work.column_ink[column] = 0;
    }
    mid.add(mids), half.add(halves), softness.add(softnesses);
    if (++chunks == kChunksPerFold || chunk + kLanes >= columns.end) {
      by_mid += mid.take(), by_half += half.take(), by_softness += softness.take();
      chunks = 0;
    }
  }
  sums.grid.by_mid_x += by_mid * s.softness;
  sums.grid.by_half_x += by_half * s.softness;
  sums.by_softness += by_softness;
}

// What a row adds to the sums of the whole segment.
template <class T>
struct RowSums {
  LaneSum<T> ink, by_first;
};

template <Kind kind, class T>
SOFTRASTER_INLINE void fold_row(const Segment<T>& s, int64_t row, const BoxTable<T>& table,
                                const RowSums<T>& row_sums, LaneSums<T>& sums) {
  if (kind == Kind::kCapsule) return;
  const double from_mid_y = row + 0.5 - s.mid_y;
  const Box<T> box = {table.value[row], table.near_tail[row], table.far_tail[row]};
  const T k = s.window.softness, by_distance = k * log_box_by_distance(box);
  const auto ink = row_sums.ink.lanes;
  if (kind != Kind::kDot) sums.ink.lanes += ink;
  sums.by_mid_y.lanes += ink * (from_mid_y < 0 ? by_distance : -by_distance);
  sums.by_half_y.lanes += ink * (k * log_box_by_half(box));
  sums.by_softness.lanes += ink * log_box_by_softness(box, T(fabs(from_mid_y)), s.box_y.half);
  sums.by_first.lanes += row_sums.by_first.lanes;
  if (kind == Kind::kSteep) sums.arm.lanes += row_sums.by_first.lanes * T(from_mid_y);
}

// pixel_grads(pixel, lanes, coverage, out, weights) writes d loss / d coverage of kLanes pixels to
// out, 0 beyond `lanes`; and to weights if that is not null. lanes may be more than kLanes.
template <Kind kind, class T, class PixelGrads>
SOFTRASTER_INLINE void gather_chunk(const Segment<T>& s, int64_t row, int64_t chunk, int64_t width,
                                    const Workspace<T>& work, RowSums<T>& row_sums,
                                    LaneSums<T>& sums, PixelGrads& pixel_grads) {
  constexpr bool boxed = kind != Kind::kCapsule;
  const Place<T> place = place_pixel(kind, s, chunk, row);
  const T* __restrict box_x = boxed ? work.tables.x.value + chunk : nullptr;
  T* __restrict column_ink = boxed ? work.column_ink + chunk : nullptr;
  const T box_y = boxed ? work.tables.y.value[row] : T(0);
  T coverage[kLanes], first[kLanes], second[kLanes], softness[kLanes], by_width[kLanes],
      lever[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const CoverageGrad<T> pixel =
        cover_lane<kind>(s, place, lane, boxed ? box_x[lane] : T(0), box_y);
    coverage[lane] = pixel.coverage;
    first[lane] = pixel.by_first, second[lane] = pixel.by_second;
    softness[lane] = pixel.by_softness, by_width[lane] = pixel.by_width, lever[lane] = pixel.lever;
  }
  T ink[kLanes];
  pixel_grads(row * width + chunk, width - chunk, coverage, ink, work.weights);
  for (int64_t c = 0; work.weights && c < work.channels; ++c) {
    for (int lane = 0; lane < kLanes; ++lane) {
      work.color_lanes[c * kLanes + lane] += work.weights[c * kLanes + lane] * coverage[lane];
    }
  }
  T row_ink[kLanes], arm[kLanes], second_lever[kLanes];
  const T from_mid_x = T(chunk + 0.5 - s.mid_x);
  for (int lane = 0; lane < kLanes; ++lane) {
    ink[lane] *= coverage[lane];
    row_ink[lane] = ink[lane];
    if (kind == Kind::kDot) row_ink[lane] *= dot_power(box_y, box_x[lane]);
    if (boxed) {
      const T power = kind == Kind::kDot ? dot_power(box_x[lane], box_y) : T(1);
      column_ink[lane] += ink[lane] * power;
    }
    first[lane] *= ink[lane], second[lane] *= ink[lane];
    softness[lane] *= ink[lane], by_width[lane] *= ink[lane];
    arm[lane] = first[lane] * (kind == Kind::kCapsule ? lever[lane] : from_mid_x + T(lane));
    second_lever[lane] = second[lane] * lever[lane];
  }
  if (kind == Kind::kDot || kind == Kind::kCapsule) sums.ink.add(ink);
  if (boxed) row_sums.ink.add(row_ink);
  if (kind != Kind::kDot) sums.by_softness.add(softness);
  if (kind == Kind::kFlat || kind == Kind::kSteep) row_sums.by_first.add(first);
  if (kind == Kind::kFlat || kind == Kind::kCapsule) sums.arm.add(arm);
  if (kind == Kind::kCapsule) {
    sums.by_first.add(first), sums.by_second.add(second);
    sums.second_lever.add(second_lever), sums.by_width.add(by_width);
  }
}

template <Kind kind, class T>
SOFTRASTER_INLINE void add_sums(const Gathered& from, const Segment<T>& s, SegmentSums& sums) {
  sums.ink += from.ink;
  sums.by_softness += from.by_softness;
  sums.by_width += from.by_width;
  if (kind == Kind::kCapsule) {
    add_capsule_sums({from.by_first, from.by_second, from.arm, from.second_lever}, s, sums);
  } else {
    GridSums grid = from.grid;
    grid.by_offset = from.by_first, grid.by_offset_arm = from.arm;
    add_grid_sums(grid, s, sums);
  }
}

// Adds a segment's rows and columns to its sums. shape_boxes has been called, and the tables
// filled.
template <Kind kind, class T, class PixelGrads>
SOFTRASTER_INLINE void gather_segment(const Segment<T>& s, Range rows, Range columns, int64_t width,
                                      const Workspace<T>& work, PixelGrads& pixel_grads,
                                      SegmentSums& sums) {
  const Range table = chunk_range(columns, width);
  const RowWindow window = row_window(s);
  LaneSums<T> lanes;
  Gathered gathered = {};
  int64_t chunks = 0, rows_since = 0;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Range visited = visited_columns<kind>(s, window, row, columns);
    if (!visited.empty()) {
      RowSums<T> row_sums;
      for (int64_t chunk = first_chunk(visited, width); chunk < visited.end; chunk += kLanes) {
        gather_chunk<kind>(s, row, chunk, width, work, row_sums, lanes, pixel_grads);
        ++chunks;
      }
      fold_row<kind>(s, row, work.tables.y, row_sums, lanes);
    }
    if (chunks >= kChunksPerFold) {
      fold_lanes<kind>(lanes, work, gathered);
      chunks = 0;
    }
    if (kind != Kind::kCapsule && ++rows_since == kChunksPerFold) {
      fold_columns(s, table, work, gathered);
      rows_since = 0;
    }
  }
  fold_lanes<kind>(lanes, work, gathered);
  if (kind != Kind::kCapsule) fold_columns(s, table, work, gathered);
  add_sums<kind>(gathered, s, sums);
}

// Memory for a Workspace.
template <class T>
struct WorkspaceBuffer {
  std::vector<T> numbers;
  std::vector<double> sums;
  Workspace<T> work;

  explicit WorkspaceBuffer(const DrawSegmentsParams<T>& p) {
    const int64_t room_x = table_room(p.columns), room_y = table_room(p.rows);
    const int64_t color_room = p.color ? p.channels * kLanes : 0;
    numbers.resize(4 * room_x + 3 * room_y + 2 * color_room);
    sums.resize(p.color ? p.channels : 0);
    T* at = numbers.data();
    work.tables.x = {at, at + room_x, at + 2 * room_x};
    work.column_ink = at + 3 * room_x;
    at += 4 * room_x;
    work.tables.y = {at, at + room_y, at + 2 * room_y};
    at += 3 * room_y;
    work.weights = p.color ? at : nullptr;
    work.color_lanes = p.color ? at + color_room : nullptr;
    work.color_sums = sums.data();
    work.channels = p.channels;
  }
};

}  // namespace cpu
}  // namespace softraster
