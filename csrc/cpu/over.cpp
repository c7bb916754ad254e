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

// Segment `at` with its tables, and the rows of the band and the columns that it reaches.
template <class T>
SOFTRASTER_INLINE Segment<T> prepare(const DrawSegmentsParams<T>& p, int64_t at, Range rows,
                                     Range* reached_rows, Range* reached_columns,
                                     const Tables<T>& tables) {
  Segment<T> s = segment_at(p, at);
  *reached_rows = row_support(s, rows);
  *reached_columns = column_support(s, {0, p.columns});
  shape_boxes(s);
  fill_tables<true>(s, *reached_rows, *reached_columns, p.columns, tables);
  return s;
}

// Draws segment `at` onto the band; returns the length of its log, which it writes if asked to.
template <bool with_log, class T>
SOFTRASTER_INLINE int64_t draw_onto(const DrawSegmentsParams<T>& p, int64_t at,
                                    const Workspace<T>& work, BandState<T>& state) {
  Range rows, columns;
  const Segment<T> s = prepare(p, at, state.rows, &rows, &columns, work.tables);
  const T* color = p.color ? p.color + at * p.channels : nullptr;
  int64_t length = 0;
  with_kind(s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
    cover_segment<kind.value>(
        s, intensity_at(p, at), rows, columns, p.columns, work.tables,
        [&](int64_t row, int64_t chunk, const T* coverage, int64_t lanes) SOFTRASTER_INLINE_LAMBDA {
          T* canvas = state.canvas.data() + row * p.columns + chunk - state.first_pixel;
          length += p.channels * kLanes;
          if (with_log) {
            const size_t start = state.log.size();
            state.log.resize(start + p.channels * kLanes);
            for (int64_t c = 0; c < p.channels; ++c) {
              std::copy_n(canvas + c * state.size, std::min<int64_t>(lanes, kLanes),
                          state.log.data() + start + c * kLanes);
            }
          }
          merge_chunk(Merge::kOver, coverage, lanes, 0, color,
                      ChunkCanvas<T>{canvas, nullptr, nullptr, state.size, p.channels});
        });
  });
  return length;
}

template <class T>
SOFTRASTER_INLINE void take_apart(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                  const LogEntry& entry, const Workspace<T>& work,
                                  BandState<T>& state, Plan<T>& plan) {
  const int64_t at = entry.segment;
  Range rows, columns;
  const Segment<T> s = prepare(p, at, state.rows, &rows, &columns, work.tables);
  OverGrads<T> pixel_grads = {p.channels,
                              p.pixels(),
                              state.first_pixel,
                              g.grad_canvas + state.item * p.channels * p.pixels(),
                              p.color ? p.color + at * p.channels : nullptr,
                              intensity_at(p, at),
                              state.light.data(),
                              state.log.data() + entry.start};
  SegmentSums sums = {};
  std::fill_n(work.color_sums, p.color ? p.channels : 0, 0.0);
  with_kind(s, [&](auto kind) SOFTRASTER_INLINE_LAMBDA {
    gather_segment<kind.value>(s, rows, columns, p.columns, work, pixel_grads, sums);
  });
  const int64_t record = plan.record(at, state.band);
  plan.records[record] = sums;
  if (p.color) {
    std::copy_n(work.color_sums, p.channels, plan.color_records.data() + record * p.channels);
  }
}

template <class T>
SOFTRASTER_INLINE void band_backward(const DrawSegmentsParams<T>& p, const DrawSegmentsGrads<T>& g,
                                     const Workspace<T>& work, BandState<T>& state, Plan<T>& plan) {
  for (int64_t c = 0; c < p.channels; ++c) {
    const T ground = p.background ? p.background[state.item * p.channels + c] : T(0);
    std::fill_n(state.canvas.data() + c * state.size, state.size, ground);
  }
  std::fill(state.light.begin(), state.light.end(), T(1));
  const int64_t begin = state.item * p.count, end = begin + p.count;
  std::vector<int64_t> groups = {begin};
  std::vector<T> copies = state.canvas;  // the canvas where each group begins
  int64_t length = 0;
  for (int64_t at = begin; at < end; ++at) {
    if (plan.record(at, state.band) < 0) continue;
    if (length >= kLogNumbers) {
      groups.push_back(at);
      copies.insert(copies.end(), state.canvas.begin(), state.canvas.end());
      length = 0;
    }
    length += draw_onto<false>(p, at, work, state);
  }
  groups.push_back(end);
  for (int64_t group = static_cast<int64_t>(groups.size()) - 2; group >= 0; --group) {
    std::copy_n(copies.data() + group * state.canvas.size(), state.canvas.size(),
                state.canvas.data());
    state.log.clear();
    state.entries.clear();
    for (int64_t at = groups[group]; at < groups[group + 1]; ++at) {
      if (plan.record(at, state.band) < 0) continue;
      state.entries.push_back({at, static_cast<int64_t>(state.log.size())});
      draw_onto<true>(p, at, work, state);
    }
    for (auto entry = state.entries.rbegin(); entry != state.entries.rend(); ++entry) {
      take_apart(p, g, *entry, work, state, plan);
    }
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
