// Backward on the CPU for kSum, kMax and kSoftor: parallel over segments. Each gathers its gradient
// over the pixels it reaches, so no two threads write one place. kOver is over.cpp's.
#include <algorithm>

#include "gather.h"
#include "passes.h"

namespace softraster {
namespace cpu {
namespace {

// d loss / d coverage of a segment's pixels, for kSum without colors: the canvas's gradient itself.
// Not a case of PixelGrads, whose loops over channels would slow the usual case.
template <class T>
struct PlainGrads {
  const T* grad;

  template <class AddColor>
  SOFTRASTER_INLINE void operator()(int64_t pixel, int64_t lanes, const T*, T* out,
                                    const AddColor&) const {
    load_lanes(grad + pixel, lanes, out);
  }
};

// The same for every other case.
template <Composite composite, class T>
struct PixelGrads {
  int64_t channels, stride;
  const T* grad;         // of the canvas that the segment is on, as is what follows
  const int32_t* marks;  // Scratch
  const T* rest;         // Scratch
  const T* color;        // of the segment, or null
  T intensity;
  int32_t index;

  // weight *= d canvas / d (coverage * intensity * color).
  SOFTRASTER_INLINE void weigh(int64_t c, int64_t pixel, int64_t lanes, const T* coverage, T ink,
                               T* weight) const {
    if (composite == Composite::kSum) return;
    int32_t mark[kLanes];
    if (composite == Composite::kMax) {
      load_lanes(marks + pixel, lanes, mark);
      SOFTRASTER_AS_VECTORS
      for (int lane = 0; lane < kLanes; ++lane) weight[lane] *= max_share<T>(mark[lane], index);
      return;
    }
    T others[kLanes], covered[kLanes];
    load_lanes(marks + c * stride + pixel, lanes, mark);
    load_lanes(rest + c * stride + pixel, lanes, others);
    copy_lanes(coverage, covered);
    SOFTRASTER_AS_VECTORS
    for (int lane = 0; lane < kLanes; ++lane) {
      weight[lane] *=
          softor_share(mark[lane], others[lane], T(1) - intensity * covered[lane] * ink);
    }
  }

  template <class AddColor>
  SOFTRASTER_INLINE void operator()(int64_t pixel, int64_t lanes, const T* coverage, T* out,
                                    const AddColor& add_color) const {
    T sum[kLanes] = {};
    for (int64_t c = 0; c < channels; ++c) {
      const T ink = color ? color[c] : T(1);
      T weight[kLanes];
      load_lanes(grad + c * stride + pixel, lanes, weight);
      weigh(c, pixel, lanes, coverage, ink, weight);
      clear_beyond(lanes, weight);
      for (int lane = 0; lane < kLanes; ++lane) sum[lane] += weight[lane] * ink;
      if (color) add_color(c, load(weight));
    }
    clear_beyond(lanes, sum);
    copy_lanes(sum, out);
  }
};

// Calls visit(composite) with what is not kOver as a compile-time constant.
template <class Visit>
SOFTRASTER_INLINE void with_composite(Composite composite, const Visit& visit) {
  if (composite == Composite::kMax) {
    visit(std::integral_constant<Composite, Composite::kMax>());
  } else if (composite == Composite::kSoftor) {
    visit(std::integral_constant<Composite, Composite::kSoftor>());
  } else {
    visit(std::integral_constant<Composite, Composite::kSum>());
  }
}

template <class T>
SOFTRASTER_INLINE void write_all(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                 int64_t at, bool valid, const SegmentSums& sums,
                                 const double* color_sums) {
  write_grad(p, g, at, valid, sums);
  for (int64_t c = 0; g.grad_color && c < p.channels; ++c) {
    write_color_grad(p, g, at, c, valid, color_sums ? color_sums[c] : 0);
  }
}

template <class T>
SOFTRASTER_INLINE void gather(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                              const Scratch<T>& scratch, ReadySegment<T>& ready,
                              const Workspace<T>& work) {
  const int64_t at = ready.at, item = at / p.count;
  const int64_t plane = p.pixels(), planes = p.channels * plane;
  SegmentSums sums = {};
  std::fill_n(work.color_sums, p.color ? p.channels : 0, 0.0);
  const T* const grad = g.grad_canvas + item * planes;
  with_cover(ready.cover, [&](auto cover) SOFTRASTER_INLINE_LAMBDA {
    if (p.composite == Composite::kSum && !p.color) {
      const PlainGrads<T> plain_grads = {grad};
      return gather_segment<cover.value>(ready, canvas_layout(p), work, plain_grads, sums);
    }
    with_composite(p.composite, [&](auto composite) SOFTRASTER_INLINE_LAMBDA {
      const bool one_mark = composite == Composite::kMax;
      const PixelGrads<composite.value, T> pixel_grads = {
          p.channels,
          plane,
          grad,
          scratch.marks ? scratch.marks + item * (one_mark ? plane : planes) : nullptr,
          scratch.rest ? scratch.rest + item * planes : nullptr,
          p.color ? p.color + at * p.channels : nullptr,
          intensity_at(p, at),
          static_cast<int32_t>(at % p.count)};
      gather_segment<cover.value>(ready, canvas_layout(p), work, pixel_grads, sums);
    });
  });
  write_all(p, g, at, true, sums, work.color_sums);
}

// The pixels of a canvas's gradient for `segments`, all on it. Where these reach much of it, it is
// read from end to end first: memory hands out lines in their order several times as fast as here
// and there.
template <class T>
__attribute__((noinline)) Pixels<T> read_ahead(const DrawSegmentsParams<T>& p, const T* grad,
                                               Range segments) {
  constexpr int64_t kLineBytes = 64, kSample = 16;
  const int64_t bytes = canvas_bytes(p);
  if (bytes <= kCacheBytes / 4) return pixels_of(grad, /*cached=*/true, p);
  if (bytes > 4 * kCacheBytes) return pixels_of(grad, /*cached=*/false, p);
  const int64_t step = std::max<int64_t>(1, (segments.end - segments.begin) / kSample);
  int64_t reached = 0;  // lines, roughly: each row begins one, and some columns share one
  for (int64_t at = segments.begin; at < segments.end; at += step) {
    const Segment<T> s = segment_at(p, at);
    const Range rows = row_support(s, {0, p.rows}), columns = column_support(s, {0, p.columns});
    if (!s.valid || rows.empty() || columns.empty()) continue;
    reached += step * p.channels * (rows.end - rows.begin + (columns.end - columns.begin) / 2);
  }
  if (reached * kLineBytes < bytes / 4) return pixels_of(grad, /*cached=*/false, p);
  const char* const begin = reinterpret_cast<const char*>(grad);
  for (int64_t at = 0; at < bytes; at += kLineBytes) __builtin_prefetch(begin + at, 0, 2);
  return pixels_of(grad, bytes <= kCacheBytes, p);
}

template <class T>
SOFTRASTER_INLINE void gather_range(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                    const Scratch<T>& scratch, Range range,
                                    const Workspace<T>& work) {
  int64_t next = range.begin;
  Pixels<T> pixels = {};
  const auto next_at = [&]() SOFTRASTER_INLINE_LAMBDA {
    return next < range.end ? next++ : int64_t{-1};
  };
  const auto add = [&](int64_t at, const SegmentLanes<T>& lanes, int i) SOFTRASTER_INLINE_LAMBDA {
    const T* const grad = g.grad_canvas + at / p.count * p.channels * p.pixels();
    if (at == range.begin || at % p.count == 0) {
      const int64_t item_end = (at / p.count + 1) * p.count;
      pixels = read_ahead(p, grad, {at, std::min(item_end, range.end)});
    }
    const Range rows = lanes.rows(i), columns = lanes.columns(i);
    if (!lanes.valid[i] || rows.empty() || columns.empty()) {
      write_all(p, g, at, lanes.valid[i], SegmentSums{}, static_cast<double*>(nullptr));
    } else {
      work.block->template add<true>(at, lanes.segment(i), {rows, rows}, columns, pixels);
    }
    return true;
  };
  const auto visit = [&](ReadySegment<T>& ready)
                         SOFTRASTER_INLINE_LAMBDA { gather(p, g, scratch, ready, work); };
  for_ready<true>(p, *work.block, next_at, add, visit);
}

SOFTRASTER_VECTOR_CLONES void gather_clone(const DrawSegmentsParams<float>& p,
                                           const DrawSegmentsGrads<float>& g,
                                           const Scratch<float>& scratch, Range range,
                                           const Workspace<float>& work) {
  gather_range(p, g, scratch, range, work);
}
SOFTRASTER_VECTOR_CLONES void gather_clone(const DrawSegmentsParams<double>& p,
                                           const DrawSegmentsGrads<double>& g,
                                           const Scratch<double>& scratch, Range range,
                                           const Workspace<double>& work) {
  gather_range(p, g, scratch, range, work);
}

template <class T>
void backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
              const Scratch<T>& scratch) {
  if (p.composite == Composite::kOver) return over_backward(p, g);
  fill_scratch(p, scratch);
  constexpr int64_t kGrain = 64;
  parallel_for(p.batch * p.count, kGrain, [&](int64_t begin, int64_t end) {
    const WorkspaceBuffer<T> buffer(p);
    gather_clone(p, g, scratch, {begin, end}, buffer.work);
  });
}

}  // namespace

void launch_draw_segments_backward(const DrawSegmentsParams<float>& p,
                                   const DrawSegmentsGrads<float>& g, const Scratch<float>& s) {
  backward(p, g, s);
}
void launch_draw_segments_backward(const DrawSegmentsParams<double>& p,
                                   const DrawSegmentsGrads<double>& g, const Scratch<double>& s) {
  backward(p, g, s);
}

}  // namespace cpu
}  // namespace softraster
