// Backward on CUDA for kSum, kMax and kSoftor: one warp gathers a segment's gradient, or a slice of
// it, over the pixels that it reaches, so no two warps write one place. kOver is over.cu's.
//
// The longer axis of the segment leads: eight lanes lie side by side across it, where the support
// is only as wide as the line is soft, and the warp moves along it in steps of four.
#include "passes.h"
#include "pixel_sums.h"

namespace softraster {
namespace cuda {
namespace {

constexpr int kLanesAcross = 8, kLanesAlong = kWarp / kLanesAcross;
// Sums in T drift when a segment covers very many pixels: after so many they go on in double.
constexpr int kPixelsPerFold = 64;

// A few segments on a large canvas are cut into slices along their longer axis, to feed the device.
// The batch has no say: an item's gradient has the same bits in every batch.
template <class T>
int64_t slices_of(const DrawSegmentsParams<T>& p) {
  constexpr int64_t kEnoughWarps = 4096, kPixelsAlong = 64;
  const int64_t wanted = p.count > 0 ? kEnoughWarps / p.count : 1;
  const int64_t most = (p.rows > p.columns ? p.rows : p.columns) / kPixelsAlong;
  const int64_t slices = wanted < most ? wanted : most;
  return slices > 1 ? slices : 1;
}

// Sums of the slices of each segment; null where there is one slice, which writes the gradient.
template <class T>
struct Slices {
  int64_t count;
  SegmentSums* sums;  // (batch * segments, count)
  double* color;      // (batch * segments, count, channels)

  Slices(const DrawSegmentsParams<T>& p, Arena& arena)
      : count(slices_of(p)),
        sums(count > 1 ? arena.take<SegmentSums>(p.batch * p.count * count) : nullptr),
        color(count > 1 && p.color ? arena.take<double>(p.batch * p.count * count * p.channels)
                                   : nullptr) {}
};

// A segment on its canvas, as the gradient of its pixels' coverage needs it.
template <class T, int kChannels>
struct Inked {
  int64_t item;
  int32_t index;
  T intensity;
  int64_t first_channel;
  T color[kChannels];
};

// d loss / d coverage of a pixel; weights: d loss / d (coverage * intensity * color) by channel.
template <class T, int kChannels>
__device__ T pixel_grad(const DrawSegmentsParams<T>& p, const T* grad_canvas,
                        const Scratch<T>& scratch, const Inked<T, kChannels>& inked, int64_t pixel,
                        T coverage, T* weights) {
  T grad = 0;
  for (int c = 0; c < kChannels; ++c) {
    const int64_t channel = inked.first_channel + c;
    weights[c] = 0;
    if (channel >= p.channels) break;
    const int64_t at = (inked.item * p.channels + channel) * p.pixels() + pixel;
    T share = 1;
    if (p.composite == Composite::kMax) {
      share = max_share<T>(scratch.marks[inked.item * p.pixels() + pixel], inked.index);
    } else if (p.composite == Composite::kSoftor) {
      const T factor = T(1) - inked.intensity * coverage * inked.color[c];
      share = softor_share(scratch.marks[at], scratch.rest[at], factor);
    }
    weights[c] = grad_canvas[at] * share;
    grad += weights[c] * inked.color[c];
  }
  return grad;
}

// A segment as its warp sees it, in shared memory.
template <class T>
struct WarpMemory {
  Segment<T> segment;
  double totals[kSums];
};

// The support of a segment, led by its longer axis: y if kSteepAxis, else x.
template <Coverage kCoverage, bool kSteepAxis, class T>
struct Support {
  Range along, across;
  double mid_along, mid_across;
  double slope, arm;  // at each place along, the centre and half width of what is across

  __device__ Support(const DrawSegmentsParams<T>& p, const Segment<T>& s) {
    const Range columns = column_support(s, {0, p.columns}), rows = row_support(s, {0, p.rows});
    along = kSteepAxis ? rows : columns, across = kSteepAxis ? columns : rows;
    mid_along = kSteepAxis ? s.mid_y : s.mid_x, mid_across = kSteepAxis ? s.mid_x : s.mid_y;
    if (kCoverage == Coverage::kCapsule) {  // its reach is measured at right angles to the line
      slope = kSteepAxis ? s.along_x / s.along_y : s.along_y / s.along_x;
      arm = s.reach / fabs(kSteepAxis ? s.along_y : s.along_x);
    } else {
      slope = s.slope;
      arm = s.kind == Kind::kDot ? HUGE_VAL : s.reach;
    }
  }
};

// Adds to a lane's sums the pixels across the segment at the place u along it.
template <Coverage kCoverage, bool kSteepAxis, int kChannels, class T>
__device__ void gather_across(const DrawSegmentsParams<T>& p, const T* grad_canvas,
                              const Scratch<T>& scratch, const Segment<T>& s,
                              const Inked<T, kChannels>& inked,
                              const Support<kCoverage, kSteepAxis, T>& support, int u, T* sums) {
  const Kind kind = kind_of<kCoverage>(s);
  const double centre = support.mid_across + support.slope * (u + 0.5 - support.mid_along);
  const Range range = clip(centre - support.arm, centre + support.arm, support.across);
  if (range.empty()) return;
  const int begin = int(range.begin), end = int(range.end);
  // Places count from the pixel next to the line, where small offsets matter.
  const int anchor = int(clamp(centre, double(begin), double(end - 1)));
  const Place<T> place = place_pixel(kind, s, kSteepAxis ? anchor : u, kSteepAxis ? u : anchor);
  const T first_step = kSteepAxis ? place.first_by_column : place.first_by_row;
  const T second_step = kSteepAxis ? place.second_by_column : place.second_by_row;
  const T anchor_from_mid = T(anchor + 0.5 - support.mid_across);
  const BoxShape<T>& shape_across = kSteepAxis ? s.box_x : s.box_y;
  PixelBoxes<T> boxes = {};
  T& from_mid_along = kSteepAxis ? boxes.from_mid_y : boxes.from_mid_x;
  T& from_mid_across = kSteepAxis ? boxes.from_mid_x : boxes.from_mid_y;
  Box<T>& box_along = kSteepAxis ? boxes.y : boxes.x;
  Box<T>& box_across = kSteepAxis ? boxes.x : boxes.y;
  from_mid_along = T(u + 0.5 - support.mid_along);
  if (kCoverage == Coverage::kGrid) {
    box_along = soft_box(T(fabs(from_mid_along)), kSteepAxis ? s.box_y : s.box_x);
  }
  for (int v = begin + threadIdx.x % kLanesAcross; v < end; v += kLanesAcross) {
    const T steps = T(v - anchor);
    from_mid_across = anchor_from_mid + steps;
    if (kCoverage == Coverage::kGrid) {
      box_across = soft_box(T(fabs(from_mid_across)), shape_across);
    }
    const CoverageGrad<T> pixel =
        cover_pixel(kind, s, place.first + steps * first_step, place.second + steps * second_step,
                    boxes.x.value, boxes.y.value);
    const int64_t at = (kSteepAxis ? u : v) * p.columns + (kSteepAxis ? v : u);
    T weights[kChannels];
    const T grad = pixel_grad(p, grad_canvas, scratch, inked, at, pixel.coverage, weights);
    add_pixel<kCoverage>(s, pixel, grad * pixel.coverage, boxes, sums);
    for (int c = 0; c < kChannels; ++c) sums[kSums + c] += weights[c] * pixel.coverage;
  }
}

// Gathers one slice of a segment; returns what lane i has to add to sum i.
template <Coverage kCoverage, bool kSteepAxis, int kChannels, class T>
__device__ double gather_slice(const DrawSegmentsParams<T>& p, const T* grad_canvas,
                               const Scratch<T>& scratch, const Segment<T>& s,
                               const Inked<T, kChannels>& inked, int64_t slice, int64_t slices) {
  const int lane = threadIdx.x % kWarp;
  const Support<kCoverage, kSteepAxis, T> support(p, s);
  if (support.along.empty() || support.across.empty()) return 0;
  const int64_t length = support.along.end - support.along.begin;
  const int begin = int(support.along.begin + slice * length / slices);
  const int end = int(support.along.begin + (slice + 1) * length / slices);
  const int64_t most_across = support.across.end - support.across.begin;
  const int width = int(2 * support.arm < most_across ? 2 * support.arm : most_across);
  const int steps_per_fold = kPixelsPerFold / (width / kLanesAcross + 1) + 1;
  double total = 0;
  T sums[kSums + kChannels] = {};
  int steps = 0;
  for (int first = begin; first < end; first += kLanesAlong) {
    const int u = first + lane / kLanesAcross;
    if (u < end) {
      gather_across<kCoverage, kSteepAxis>(p, grad_canvas, scratch, s, inked, support, u, sums);
    }
    if (++steps < steps_per_fold && first + kLanesAlong < end) continue;
    for (int i = 0; i < kSums + kChannels; ++i) {
      const T sum = warp_sum(sums[i]);
      total += lane == i ? double(sum) : 0.0;
      sums[i] = 0;
    }
    steps = 0;
  }
  return total;
}

// One warp per segment and slice. A lane keeps one of the sums.
template <Coverage kCoverage, int kChannels, class T>
__global__ void __launch_bounds__(kThreads)
    gather_segments(DrawSegmentsParams<T> p, DrawSegmentsGrads<T> g, Scratch<T> scratch,
                    Slices<T> slices) {
  SOFTRASTER_DYNAMIC_SHARED(WarpMemory<T>, memories);
  WarpMemory<T>& memory = memories[threadIdx.x / kWarp];
  const Segment<T>& s = memory.segment;
  const int lane = threadIdx.x % kWarp;
  const int64_t warps = int64_t(gridDim.x) * kWarps;
  const int64_t tasks = p.batch * p.count * slices.count;
  int64_t task = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  for (; task < tasks; task += warps) {
    const int64_t at = task / slices.count, slice = task % slices.count;
    if (lane == 0) {
      memory.segment = segment_at(p, at);
      shape_boxes(memory.segment);
    }
    __syncwarp();
    const bool steep = kCoverage == Coverage::kCapsule ? fabs(s.along_y) > fabs(s.along_x)
                                                       : s.kind == Kind::kSteep;
    Inked<T, kChannels> inked = {at / p.count, int32_t(at % p.count), intensity_at(p, at), 0, {}};
    double total = 0;
    for (; inked.first_channel < p.channels; inked.first_channel += kChannels) {
      for (int c = 0; c < kChannels; ++c) {
        const int64_t channel = inked.first_channel + c;
        inked.color[c] = color_at(p, at, channel);
      }
      if (s.valid && steep) {
        total +=
            gather_slice<kCoverage, true>(p, g.grad_canvas, scratch, s, inked, slice, slices.count);
      } else if (s.valid) {
        total += gather_slice<kCoverage, false>(p, g.grad_canvas, scratch, s, inked, slice,
                                                slices.count);
      }
      const int64_t channel = inked.first_channel + lane - kSums;
      if (lane < kSums || lane >= kSums + kChannels || channel >= p.channels) continue;
      if (slices.color) {
        slices.color[task * p.channels + channel] = total;
      } else if (g.grad_color) {
        write_color_grad(p, g, at, channel, s.valid, total);
      }
      total = 0;
    }
    if (lane < kSums) memory.totals[lane] = total;
    __syncwarp();
    if (lane == 0) {
      const SegmentSums sums = segment_sums<kCoverage>(s, memory.totals);
      if (slices.sums) {
        slices.sums[task] = sums;
      } else {
        write_grad(p, g, at, s.valid, sums);
      }
    }
    __syncwarp();
  }
}

// One thread per segment adds its slices in order.
template <class T>
__global__ void add_slices(DrawSegmentsParams<T> p, DrawSegmentsGrads<T> g, Slices<T> slices) {
  const int64_t threads = int64_t(gridDim.x) * kThreads;
  int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  for (; at < p.batch * p.count; at += threads) {
    const bool valid = segment_at(p, at).valid;
    SegmentSums sums = {};
    for (int64_t slice = 0; slice < slices.count; ++slice) {
      sums += slices.sums[at * slices.count + slice];
    }
    write_grad(p, g, at, valid, sums);
    for (int64_t c = 0; g.grad_color && c < p.channels; ++c) {
      double sum = 0;
      for (int64_t slice = 0; slice < slices.count; ++slice) {
        sum += slices.color[(at * slices.count + slice) * p.channels + c];
      }
      write_color_grad(p, g, at, c, valid, sum);
    }
  }
}

template <Coverage kCoverage, int kChannels, class T>
int launch_gather(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                  const Scratch<T>& scratch, const Slices<T>& slices, void* stream) {
  SOFTRASTER_LAUNCH((gather_segments<kCoverage, kChannels, T>),
                    blocks_for(p.batch * p.count * slices.count, kWarps), kThreads,
                    kWarps * sizeof(WarpMemory<T>), stream, p, g, scratch, slices);
  return last_error();
}

template <class T>
int64_t bytes(const DrawSegmentsParams<T>& p) {
  if (p.composite == Composite::kOver) return over_backward_bytes(p);
  Arena arena(nullptr);
  if (p.composite != Composite::kSum) Prepared<T>(p, arena);
  Slices<T>(p, arena);
  return arena.used();
}

template <class T>
int backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
             const Scratch<T>& scratch, void* workspace, void* stream) {
  if (p.composite == Composite::kOver) return over_backward(p, g, workspace, stream);
  if (p.batch * p.count == 0) return 0;
  Arena arena(workspace);
  if (p.composite != Composite::kSum) {
    const Prepared<T> prepared(p, arena);
    if (const int error = fill_scratch(p, prepared, scratch, stream)) return error;
  }
  const Slices<T> slices(p, arena);
  const bool one = p.channels == 1;
  const bool grid = p.coverage == Coverage::kGrid;
  const auto launch = grid ? (one ? launch_gather<Coverage::kGrid, 1, T>
                                  : launch_gather<Coverage::kGrid, kMaxChannels, T>)
                           : (one ? launch_gather<Coverage::kCapsule, 1, T>
                                  : launch_gather<Coverage::kCapsule, kMaxChannels, T>);
  if (const int error = launch(p, g, scratch, slices, stream)) return error;
  if (!slices.sums) return 0;
  SOFTRASTER_LAUNCH(add_slices<T>, blocks_for(p.batch * p.count, kThreads), kThreads, 0, stream, p,
                    g, slices);
  return last_error();
}

}  // namespace

int64_t backward_workspace_bytes(const DrawSegmentsParams<float>& p) { return bytes(p); }
int64_t backward_workspace_bytes(const DrawSegmentsParams<double>& p) { return bytes(p); }

int launch_draw_segments_backward(const DrawSegmentsParams<float>& p,
                                  const DrawSegmentsGrads<float>& g, const Scratch<float>& scratch,
                                  void* workspace, void* stream) {
  return backward(p, g, scratch, workspace, stream);
}
int launch_draw_segments_backward(const DrawSegmentsParams<double>& p,
                                  const DrawSegmentsGrads<double>& g,
                                  const Scratch<double>& scratch, void* workspace, void* stream) {
  return backward(p, g, scratch, workspace, stream);
}

}  // namespace cuda
}  // namespace softraster
