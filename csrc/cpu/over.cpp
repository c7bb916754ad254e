// Backward of kOver on the CPU: parallel over bands of rows of fixed height, then over segments.
//
// With out_n = out_{n-1} + a_n (color_n - out_{n-1}), a gradient needs what lay below a segment and
// how much light passes those above. Dividing either out of the canvas fails where a_n is nearly 1.
// So a band is drawn again, logging what each segment finds below it, and then taken apart from the
// top. Long logs are cut into groups, with a copy of the band's canvas where each begins. A
// segment's sums over each band are kept and added in the order of the bands.
#include <algorithm>

#include "gather.h"
#include "passes.h"

namespace softraster {
namespace cpu {
namespace {

constexpr int64_t kBandRows = 32;
constexpr int64_t kLogNumbers = 1 << 20;  // of a group; one segment may go beyond

// The bands that each segment reaches, and where its sums for them are kept.
template <class T>
struct Plan {
  int64_t bands;
  std::vector<int64_t> first_band, first_record;  // (batch * count,), and one more record
  std::vector<uint8_t> item_valid;                // (batch,)
  std::vector<SegmentSums> records;
  std::vector<double> color_records;       // (records, channels), empty without colors
  std::vector<double> background_records;  // (batch, bands, channels)

  explicit Plan(const DrawSegmentsParams<T>& p)
      : bands((p.rows + kBandRows - 1) / kBandRows),
        first_band(p.batch * p.count),
        first_record(p.batch * p.count + 1),
        item_valid(p.batch, 1),
        background_records(p.batch * bands * p.channels) {
    int64_t count = 0;
    for (int64_t at = 0; at < p.batch * p.count; ++at) {
      const Segment<T> s = segment_at(p, at);
      const bool finite = !p.intensity || 0 * p.intensity[at] == 0;
      if (!s.valid || !finite) item_valid[at / p.count] = 0;
      const Range rows = row_support(s, {0, p.rows}), columns = column_support(s, {0, p.columns});
      const bool reaches = s.valid && !rows.empty() && !columns.empty();
      first_record[at] = count;
      first_band[at] = reaches ? rows.begin / kBandRows : 0;
      if (reaches) count += (rows.end - 1) / kBandRows - first_band[at] + 1;
    }
    first_record[p.batch * p.count] = count;
    records.resize(count);
    color_records.resize(p.color ? count * p.channels : 0);
  }

  // Where the sums of segment `at` over a band are kept, or -1 if it does not reach the band.
  int64_t record(int64_t at, int64_t band) const {
    const int64_t nth = band - first_band[at];
    return nth >= 0 && nth < first_record[at + 1] - first_record[at] ? first_record[at] + nth : -1;
  }
};

struct LogEntry {
  int64_t segment, start;
};

// A band while it is drawn and taken apart. Planes of (rows, columns) pixels, `size` apart.
template <class T>
struct BandState {
  int64_t item, band;
  Range rows;
  int64_t first_pixel, size;
  std::vector<T> canvas, light;  // light: how much of it passes what lies above
  std::vector<T> log;            // (chunks, channels, kLanes)
  std::vector<LogEntry> entries;
};

template <class T>
struct OverGrads {
  int64_t channels, stride, first_pixel;
  const T* grad;   // of the canvas
  const T* color;  // of the segment, or null
  T intensity;
  T* light;
  const T* below;  // the log, from the segment's entry on

  SOFTRASTER_INLINE void load(int64_t pixel, int64_t lanes, const T* __restrict coverage,
                              T* __restrict out, T* __restrict weights) {
    T* __restrict passing = light + (pixel - first_pixel);
    for (int64_t c = 0; c < channels; ++c) {
      const T ink = color ? color[c] : T(1);
      const T* __restrict plane = grad + c * stride + pixel;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const T weight = plane[lane] * passing[lane];
        out[lane] += weight * (ink - below[c * kLanes + lane]);
        if (weights) weights[c * kLanes + lane] = weight;
      }
    }
    for (int64_t lane = 0; lane < lanes; ++lane) passing[lane] *= T(1) - intensity * coverage[lane];
    below += channels * kLanes;
  }

  SOFTRASTER_INLINE void operator()(int64_t pixel, int64_t lanes, const T* coverage, T* out,
                                    T* weights) {
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = 0;
    if (lanes >= kLanes) return load(pixel, kLanes, coverage, out, weights);
    for (int64_t at = 0; weights && at < channels * kLanes; ++at) weights[at] = 0;
    load(pixel, lanes, coverage, out, weights);
  }
};

// Adds segment `at` to the block, if it reaches the band.
template <class T>
SOFTRASTER_INLINE void add_segment(const DrawSegmentsParams<T>& p, int64_t at, Range rows,
                                   const Plan<T>& plan, int64_t band, const Pixels<T>& pixels,
                                   Block<T>& block) {
  if (plan.record(at, band) < 0) return;
  const Segment<T> s = segment_at(p, at);
  block.template add<true>(at, s, row_support(s, rows), column_support(s, {0, p.columns}), pixels);
}

// Draws a segment onto the band, logging what it finds there.
template <class T>
SOFTRASTER_INLINE void draw_onto(const DrawSegmentsParams<T>& p, ReadySegment<T>& ready,
                                 BandState<T>& state) {
  const T* color = p.color ? p.color + ready.at * p.channels : nullptr;
  state.entries.push_back({ready.at, static_cast<int64_t>(state.log.size())});
  with_kind(ready.s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
    cover_segment<kind.value>(
        ready, intensity_at(p, ready.at), p.columns,
        [&](int64_t pixel, const T* coverage, int64_t lanes) SOFTRASTER_INLINE_LAMBDA {
          T* canvas = state.canvas.data() + pixel - state.first_pixel;
          const size_t start = state.log.size();
          state.log.resize(start + p.channels * kLanes);
          for (int64_t c = 0; c < p.channels; ++c) {
            std::copy_n(canvas + c * state.size, std::min<int64_t>(lanes, kLanes),
                        state.log.data() + start + c * kLanes);
          }
          merge_chunk(Merge::kOver, coverage, lanes, 0, color,
                      ChunkCanvas<T>{canvas, nullptr, nullptr, state.size, p.channels});
        });
  });
}

template <class T>
SOFTRASTER_INLINE void take_apart(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                  ReadySegment<T>& ready, int64_t log_start,
                                  const Workspace<T>& work, BandState<T>& state, Plan<T>& plan) {
  const int64_t at = ready.at;
  OverGrads<T> pixel_grads = {p.channels,
                              p.pixels(),
                              state.first_pixel,
                              g.grad_canvas + state.item * p.channels * p.pixels(),
                              p.color ? p.color + at * p.channels : nullptr,
                              intensity_at(p, at),
                              state.light.data(),
                              state.log.data() + log_start};
  SegmentSums sums = {};
  std::fill_n(work.color_sums, p.color ? p.channels : 0, 0.0);
  with_kind(ready.s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
    gather_segment<kind.value>(ready, p.columns, work, pixel_grads, sums);
  });
  const int64_t record = plan.record(at, state.band);
  plan.records[record] = sums;
  if (p.color) {
    std::copy_n(work.color_sums, p.channels, plan.color_records.data() + record * p.channels);
  }
}

// Draws segments from `begin` on, until `end` or until the log is long; returns where it stopped.
template <class T>
SOFTRASTER_INLINE int64_t draw_group(const DrawSegmentsParams<T>& p, int64_t begin, int64_t end,
                                     const Workspace<T>& work, BandState<T>& state,
                                     const Plan<T>& plan) {
  state.log.clear();
  state.entries.clear();
  int64_t next = begin;
  const auto add_next = [&]() SOFTRASTER_INLINE_LAMBDA {
    if (next == end || static_cast<int64_t>(state.log.size()) >= kLogNumbers) return false;
    add_segment(p, next++, state.rows, plan, state.band, {}, *work.block);
    return true;
  };
  for_ready(*work.block, add_next,
            [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA { draw_onto(p, ready, state); });
  return next;
}

template <class T>
SOFTRASTER_INLINE void band_backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                     const Workspace<T>& work, BandState<T>& state, Plan<T>& plan) {
  for (int64_t c = 0; c < p.channels; ++c) {
    const T ground = p.background ? p.background[state.item * p.channels + c] : T(0);
    std::fill_n(state.canvas.data() + c * state.size, state.size, ground);
  }
  std::fill(state.light.begin(), state.light.end(), T(1));
  const int64_t end = (state.item + 1) * p.count;
  std::vector<int64_t> groups = {state.item * p.count};
  std::vector<T> copies;  // of the canvas where each group begins
  do {
    copies.insert(copies.end(), state.canvas.begin(), state.canvas.end());
    groups.push_back(draw_group(p, groups.back(), end, work, state, plan));
  } while (groups.back() < end);
  for (size_t group = groups.size() - 1; group-- > 0;) {
    if (groups[group + 1] < end) {  // the last one's log is there
      std::copy_n(copies.data() + group * state.canvas.size(), state.canvas.size(),
                  state.canvas.data());
      draw_group(p, groups[group], groups[group + 1], work, state, plan);
    }
    const Pixels<T> pixels = pixels_of(g.grad_canvas + state.item * p.channels * p.pixels(), p);
    size_t left = state.entries.size(), taken = left;
    const auto add_next = [&]() SOFTRASTER_INLINE_LAMBDA {
      if (left == 0) return false;
      add_segment(p, state.entries[--left].segment, state.rows, plan, state.band, pixels,
                  *work.block);
      return true;
    };
    for_ready(*work.block, add_next, [&](ReadySegment<T>& ready) SOFTRASTER_INLINE_LAMBDA {
      take_apart(p, g, ready, state.entries[--taken].start, work, state, plan);
    });
  }
  const T* grad = g.grad_canvas + state.item * p.channels * p.pixels() + state.first_pixel;
  double* background =
      plan.background_records.data() + (state.item * plan.bands + state.band) * p.channels;
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t at = 0; at < state.size; ++at) {
      background[c] += grad[c * p.pixels() + at] * state.light[at];
    }
  }
}

SOFTRASTER_VECTOR_CLONES void band_clone(const DrawSegmentsParams<float>& p,
                                         const DrawSegmentsGrads<float>& g,
                                         const Workspace<float>& work, BandState<float>& state,
                                         Plan<float>& plan) {
  band_backward(p, g, work, state, plan);
}
SOFTRASTER_VECTOR_CLONES void band_clone(const DrawSegmentsParams<double>& p,
                                         const DrawSegmentsGrads<double>& g,
                                         const Workspace<double>& work, BandState<double>& state,
                                         Plan<double>& plan) {
  band_backward(p, g, work, state, plan);
}

template <class T>
void add_up(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g, const Plan<T>& plan) {
  parallel_for(p.batch * p.count, 1024, [&](int64_t begin, int64_t end) {
    std::vector<double> colors(p.channels);
    for (int64_t at = begin; at < end; ++at) {
      SegmentSums sums = {};
      std::fill(colors.begin(), colors.end(), 0.0);
      for (int64_t r = plan.first_record[at]; r < plan.first_record[at + 1]; ++r) {
        sums += plan.records[r];
        for (int64_t c = 0; p.color && c < p.channels; ++c) {
          colors[c] += plan.color_records[r * p.channels + c];
        }
      }
      const bool valid = plan.item_valid[at / p.count];
      write_grad(p, g, at, valid, sums);
      for (int64_t c = 0; g.grad_color && c < p.channels; ++c) {
        write_color_grad(p, g, at, c, valid, colors[c]);
      }
    }
  });
  for (int64_t at = 0; g.grad_background && at < p.batch * p.channels; ++at) {
    const int64_t item = at / p.channels, c = at % p.channels;
    double sum = 0;
    for (int64_t band = 0; band < plan.bands; ++band) {
      sum += plan.background_records[(item * plan.bands + band) * p.channels + c];
    }
    g.grad_background[at] = plan.item_valid[item] ? T(sum) : std::numeric_limits<T>::quiet_NaN();
  }
}

template <class T>
void backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g) {
  Plan<T> plan(p);
  parallel_for(p.batch * plan.bands, 1, [&](int64_t begin, int64_t end) {
    const WorkspaceBuffer<T> buffer(p);
    BandState<T> state;
    for (int64_t task = begin; task < end; ++task) {
      state.item = task / plan.bands, state.band = task % plan.bands;
      if (!plan.item_valid[state.item]) continue;
      state.rows = {state.band * kBandRows, std::min(p.rows, (state.band + 1) * kBandRows)};
      state.first_pixel = state.rows.begin * p.columns;
      state.size = (state.rows.end - state.rows.begin) * p.columns;
      state.canvas.resize(p.channels * state.size);
      state.light.resize(state.size);
      band_clone(p, g, buffer.work, state, plan);
    }
  });
  add_up(p, g, plan);
}

}  // namespace

void over_backward(const DrawSegmentsParams<float>& p, const DrawSegmentsGrads<float>& g) {
  backward(p, g);
}
void over_backward(const DrawSegmentsParams<double>& p, const DrawSegmentsGrads<double>& g) {
  backward(p, g);
}

}  // namespace cpu
}  // namespace softraster
