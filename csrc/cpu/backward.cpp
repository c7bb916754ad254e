// Backward on the CPU: parallel over segments. Each gathers its gradient over the pixels it reaches,
// drawing them anew, so nothing is saved by the forward pass and no two threads write one place.
#include <algorithm>
#include <limits>
#include <vector>

#include "../draw_segments.h"
#include "parallel.h"
#include "support.h"

namespace softraster {
namespace cpu {

void find_winners(const DrawSegmentsParams<float>& p, int32_t* winner);
void find_winners(const DrawSegmentsParams<double>& p, int32_t* winner);

namespace {

// Sums in T drift when a segment covers very many pixels: after so many chunks or rows they are folded
// into double.
constexpr int kChunksPerFold = 64;

template <class T>
struct Workspace {
  BoxTable<T> box_x, box_y;
  T* column_ink;  // by column: the ink that box_x's derivatives are weighted with
};

template <class T>
struct Lanes {
  T value[kLanes];

  SOFTRASTER_HOST_DEVICE void clear() {
    for (int lane = 0; lane < kLanes; ++lane) value[lane] = 0;
  }
  SOFTRASTER_HOST_DEVICE double take() {
    double sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += value[lane];
    clear();
    return sum;
  }
};

template <class T>
struct LaneSums {
  Lanes<T> ink, by_offset, by_offset_arm, by_softness, by_mid_y, by_half_y;
};

template <class T>
SOFTRASTER_HOST_DEVICE void fold_lanes(LaneSums<T>& lanes, SegmentSums& sums) {
  sums.ink += lanes.ink.take();
  sums.by_offset += lanes.by_offset.take();
  sums.by_offset_arm += lanes.by_offset_arm.take();
  sums.by_softness += lanes.by_softness.take();
  sums.by_mid_y += lanes.by_mid_y.take();
  sums.by_half_y += lanes.by_half_y.take();
}

template <class T>
SOFTRASTER_HOST_DEVICE void fold_columns(const Segment<T>& s, Range columns, const Workspace<T>& work,
                                         SegmentSums& sums) {
  Lanes<T> mid, half, softness;
  double mid_sum = 0, half_sum = 0, softness_sum = 0;
  mid.clear(), half.clear(), softness.clear();
  int chunks = 0;
  for (int64_t chunk = columns.begin; chunk < columns.end; chunk += kLanes) {
    const T first = T(chunk + 0.5 - s.mid_x);
    for (int lane = 0; lane < kLanes; ++lane) {
      const int64_t column = chunk + lane;
      const T ink = work.column_ink[column];
      const T from_mid = first + T(lane);
      const Box<T> box = {work.box_x.value[column], work.box_x.near_tail[column],
                          work.box_x.far_tail[column]};
      const T by_distance = ink * log_box_by_distance(box);
      mid.value[lane] += from_mid < 0 ? by_distance : -by_distance;
      half.value[lane] += ink * log_box_by_half(box);
      softness.value[lane] += ink * log_box_by_softness(box, T(fabs(from_mid)), s.half_x);
      work.column_ink[column] = 0;
    }
    if (++chunks == kChunksPerFold || chunk + kLanes >= columns.end) {
      mid_sum += mid.take(), half_sum += half.take(), softness_sum += softness.take();
      chunks = 0;
    }
  }
  sums.by_mid_x += mid_sum * s.softness;
  sums.by_half_x += half_sum * s.softness;
  sums.by_softness += softness_sum;
}

template <bool masked, class T>
SOFTRASTER_HOST_DEVICE void load_grad(const T* __restrict grad, const int32_t* __restrict winner,
                                      int32_t index, int64_t lanes, T* __restrict out) {
  for (int64_t lane = 0; lane < lanes; ++lane) {
    out[lane] = !masked || winner[lane] == index ? grad[lane] : T(0);
  }
}

template <bool masked, Axis axis, class T>
SOFTRASTER_HOST_DEVICE void gather_row(const Segment<T>& s, int64_t row, Range columns, int64_t width,
                                       const T* grad, const int32_t* winner, int32_t index,
                                       const Workspace<T>& work, LaneSums<T>& sums) {
  const double from_mid_y = row + 0.5 - s.mid_y;
  const T offset_step = axis == Axis::kX ? T(s.slope) : T(-1);
  const Box<T> box_y = {work.box_y.value[row], work.box_y.near_tail[row], work.box_y.far_tail[row]};
  Lanes<T> row_ink, row_by_offset;
  row_ink.clear(), row_by_offset.clear();
  for (int64_t chunk = first_chunk(columns, width); chunk < columns.end; chunk += kLanes) {
    T pixel_grad[kLanes] = {};
    const int32_t* chunk_winner = masked ? winner + chunk : nullptr;
    if (chunk + kLanes <= width) {
      load_grad<masked>(grad + chunk, chunk_winner, index, kLanes, pixel_grad);
    } else {
      load_grad<masked>(grad + chunk, chunk_winner, index, width - chunk, pixel_grad);
    }
    const double from_mid_x = chunk + 0.5 - s.mid_x;
    const T offset = axis == Axis::kX ? T(s.slope * from_mid_x - from_mid_y)
                                      : T(s.slope * from_mid_y - from_mid_x);
    const T* box_x = work.box_x.value + chunk;
    T* column_ink = work.column_ink + chunk;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (axis == Axis::kDot) {
        const T ink = pixel_grad[lane] * dot_coverage(box_x[lane], box_y.value);
        sums.ink.value[lane] += ink;
        column_ink[lane] += ink * dot_power(box_x[lane], box_y.value);
        row_ink.value[lane] += ink * dot_power(box_y.value, box_x[lane]);
      } else {
        const CoverageGrad<T> pixel = coverage_grad(
            pixel_grad[lane], offset + T(lane) * offset_step, box_x[lane], box_y.value, s);
        column_ink[lane] += pixel.ink;
        row_ink.value[lane] += pixel.ink;
        row_by_offset.value[lane] += pixel.by_offset;
        sums.by_softness.value[lane] += pixel.by_softness;
        if (axis == Axis::kX) {
          sums.by_offset_arm.value[lane] += pixel.by_offset * (T(from_mid_x) + T(lane));
        }
      }
    }
  }
  const T distance = T(fabs(from_mid_y));
  const T by_distance = s.softness * log_box_by_distance(box_y);
  const T by_mid = from_mid_y < 0 ? by_distance : -by_distance;
  const T by_half = s.softness * log_box_by_half(box_y);
  const T by_softness = log_box_by_softness(box_y, distance, s.half_y);
  for (int lane = 0; lane < kLanes; ++lane) {
    const T ink = row_ink.value[lane];
    if (axis != Axis::kDot) sums.ink.value[lane] += ink;
    sums.by_mid_y.value[lane] += ink * by_mid;
    sums.by_half_y.value[lane] += ink * by_half;
    sums.by_softness.value[lane] += ink * by_softness;
    sums.by_offset.value[lane] += row_by_offset.value[lane];
    if (axis == Axis::kY) {
      sums.by_offset_arm.value[lane] += row_by_offset.value[lane] * T(from_mid_y);
    }
  }
}

template <bool masked, Axis axis, class T>
SOFTRASTER_HOST_DEVICE void gather_segment(const Segment<T>& s, Range rows, Range columns,
                                           int64_t width, const T* grad_canvas, const int32_t* winner,
                                           int32_t index, const Workspace<T>& work,
                                           SegmentSums& sums) {
  const Range table = {first_chunk(columns, width), columns.end};
  const RowWindow window = row_window(s);
  LaneSums<T> lanes = {};
  int64_t chunks = 0, rows_since = 0;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    Range visited = columns;
    if (axis != Axis::kDot) {
      const double middle = s.mid_x + window.step * (row + 0.5 - s.mid_y);
      visited = clip(middle - window.arm, middle + window.arm, columns);
    }
    if (!visited.empty()) {
      gather_row<masked, axis>(s, row, visited, width, grad_canvas + row * width,
                               masked ? winner + row * width : nullptr, index, work, lanes);
      chunks += (visited.end - visited.begin) / kLanes + 1;
    }
    if (chunks >= kChunksPerFold) {
      fold_lanes(lanes, sums);
      chunks = 0;
    }
    if (++rows_since == kChunksPerFold) {
      fold_columns(s, table, work, sums);
      rows_since = 0;
    }
  }
  fold_lanes(lanes, sums);
  fold_columns(s, table, work, sums);
}

template <bool masked, class T>
SOFTRASTER_HOST_DEVICE void gather(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                   int64_t at, const Workspace<T>& work) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  const double side = p.side();
  const int64_t item = at / p.count, pixels = p.height * p.width;
  Segment<T> s = make_segment(p.segments + 4 * at, p.softness[at], side, p.log_tolerance);
  const T intensity = p.intensity ? p.intensity[at] : T(1);
  SegmentSums sums = {};
  if (s.valid) {
    const Range rows = row_support(s, {0, p.height}), columns = column_support(s, {0, p.width});
    if (!rows.empty() && !columns.empty()) {
      prepare_decays(s);
      fill_table<true>({first_chunk(columns, p.width), columns.end}, s.mid_x, s.half_x, s.softness,
                       s.decay_x, work.box_x);
      fill_table<true>(rows, s.mid_y, s.half_y, s.softness, s.decay_y, work.box_y);
      const T* grad = g.grad_canvas + item * pixels;
      const int32_t* winner = masked ? g.winner + item * pixels : nullptr;
      const int32_t index = static_cast<int32_t>(at % p.count);
      if (s.axis == Axis::kX) {
        gather_segment<masked, Axis::kX>(s, rows, columns, p.width, grad, winner, index, work, sums);
      } else if (s.axis == Axis::kY) {
        gather_segment<masked, Axis::kY>(s, rows, columns, p.width, grad, winner, index, work, sums);
      } else {
        gather_segment<masked, Axis::kDot>(s, rows, columns, p.width, grad, winner, index, work, sums);
      }
    }
  }
  const SegmentGrad grad = segment_grad(sums, s, side);
  for (int k = 0; k < 4; ++k) {
    g.grad_segments[4 * at + k] = s.valid ? T(intensity * grad.ends[k]) : nan;
  }
  g.grad_softness[at] = s.valid ? T(intensity * grad.softness) : nan;
  if (g.grad_intensity) g.grad_intensity[at] = s.valid ? T(sums.ink) : nan;
}

template <class T>
SOFTRASTER_HOST_DEVICE void gather_range(const DrawSegmentsParams<T>& p,
                                         const DrawSegmentsGrads<T>& g, Range range,
                                         const Workspace<T>& work) {
  for (int64_t at = range.begin; at < range.end; ++at) {
    if (g.winner) {
      gather<true>(p, g, at, work);
    } else {
      gather<false>(p, g, at, work);
    }
  }
}

SOFTRASTER_VECTOR_CLONES void gather_float(const DrawSegmentsParams<float>& p,
                                           const DrawSegmentsGrads<float>& g, Range range,
                                           const Workspace<float>& work) {
  gather_range(p, g, range, work);
}
SOFTRASTER_VECTOR_CLONES void gather_double(const DrawSegmentsParams<double>& p,
                                            const DrawSegmentsGrads<double>& g, Range range,
                                            const Workspace<double>& work) {
  gather_range(p, g, range, work);
}
void gather_clone(const DrawSegmentsParams<float>& p, const DrawSegmentsGrads<float>& g, Range range,
                  const Workspace<float>& work) {
  gather_float(p, g, range, work);
}
void gather_clone(const DrawSegmentsParams<double>& p, const DrawSegmentsGrads<double>& g, Range range,
                  const Workspace<double>& work) {
  gather_double(p, g, range, work);
}

template <class T>
void draw_backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g) {
  if (g.winner) find_winners(p, g.winner);
  constexpr int64_t kGrain = 16;
  parallel_for(p.batch * p.count, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t room_x = table_room(p.width), room_y = table_room(p.height);
    std::vector<T> buffer(4 * room_x + 3 * room_y);
    T* at = buffer.data();
    Workspace<T> work;
    work.box_x = {at, at + room_x, at + 2 * room_x};
    work.column_ink = at + 3 * room_x;
    at += 4 * room_x;
    work.box_y = {at, at + room_y, at + 2 * room_y};
    gather_clone(p, g, {begin, end}, work);
  });
}

}  // namespace

void launch_draw_segments_backward(const DrawSegmentsParams<float>& p,
                                   const DrawSegmentsGrads<float>& g) {
  draw_backward(p, g);
}
void launch_draw_segments_backward(const DrawSegmentsParams<double>& p,
                                   const DrawSegmentsGrads<double>& g) {
  draw_backward(p, g);
}

}  // namespace cpu
}  // namespace softraster
