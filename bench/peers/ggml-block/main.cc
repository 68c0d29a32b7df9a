// block SHAPE A B: two MoE blocks in turns on equal inputs, medians of each round's ratio, as JSON
// lines. A and B are formats of ours (bf16, int8, int8g128, int4g32, int4g128) or ggml:TYPE (bf16,
// q8_0, q4_0, q4_K). TOKENS, SECONDS a size, THREADS: one thread is timed by its CPU time, which
// holds on a machine that others use, too.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>

#include "block.h"
#include "peer.h"

static bool cpu_time = false;
static double now() {
  timespec t;
  clock_gettime(cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Side {
  std::unique_ptr<Block> ours;
  std::unique_ptr<Peer> peer;
  Side(const std::string& what, Shape s, int threads) {
    if (what.rfind("ggml:", 0)) {
      ours = std::make_unique<Block>(what, s, threads);
      return;
    }
    const std::string t = what.substr(5);
    const ggml_type type = t == "bf16"   ? GGML_TYPE_BF16
                           : t == "q8_0" ? GGML_TYPE_Q8_0
                           : t == "q4_0" ? GGML_TYPE_Q4_0
                                         : GGML_TYPE_Q4_K;
    peer = std::make_unique<Peer>(type, s.H, s.I, s.E, s.K, threads);
  }
  void prepare(int T) { ours ? ours->prepare(T) : peer->prepare(T); }
  double time(const std::vector<float>& x, int T) {
    const double begin = now();
    ours ? ours->run(x.data(), T) : peer->run(x.data(), T);
    return now() - begin;
  }
};

static double quantile(std::vector<double> v, double q) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[static_cast<size_t>(q * static_cast<double>(v.size() - 1) + .5)];
}

/// GB/s of reading 512 MiB: the ceiling of the moment.
static double read_rate(const moe::CpuContext& cpu) {
  static const moe::Buffer memory(size_t{512} << 20);
  static const bool touched =
      (std::fill_n(reinterpret_cast<float*>(memory.data()), size_t{128} << 20, 1.f), true);
  (void)touched;
  const double begin = now();
  cpu.parallel(512, 1, [&](int64_t b, int64_t e) {
    for (; b < e; ++b) {
      volatile float sink =
          cpu.kernels.read_all(reinterpret_cast<const float*>(memory.data() + (b << 20)), 1 << 18);
      (void)sink;
    }
  });
  return .536870912 / (now() - begin);
}

int main(int argc, char** argv) {
  const std::string name = argc > 3 ? argv[1] : "";
  const Shape s = name == "moepp"  ? Shape{1536, 4096, 16, 2}
                  : name == "yuan" ? Shape{2048, 8192, 32, 2}
                  : name == "qwen" ? Shape{2048, 768, 128, 8}
                                   : Shape{};
  if (!s.H) return std::fprintf(stderr, "block moepp|yuan|qwen A B\n"), 1;
  const auto setting = [](const char* key, const char* fallback) {
    const char* given = std::getenv(key);
    return std::string(given ? given : fallback);
  };
  const int threads = std::stoi(setting("THREADS", "1"));
  const double seconds = std::stod(setting("SECONDS_EACH", "4"));
  cpu_time = threads == 1;
  Side a(argv[2], s, threads), b(argv[3], s, threads);
  const moe::CpuContext cpu{moe::kernels(), moe::Pool::get(), threads};
  std::vector<float> random(1 << 21);
  for (size_t i = 0; i < random.size(); ++i)
    random[i] = moe::FillRandom::value(static_cast<int64_t>(i), 0, 1.7f, 3);
  read_rate(cpu);
  std::istringstream sizes(setting("TOKENS", "1 8 32 512"));
  for (int T; sizes >> T;) {
    a.prepare(T), b.prepare(T);
    std::vector<double> ta, tb, ratio, rate, share;
    const double end = now() + seconds;
    for (size_t r = 0; r < 4 || (now() < end && r < 400); ++r) {
      const size_t o = r * 7919 * 64 % (random.size() - static_cast<size_t>(s.H) * T + 1);
      const std::vector<float> x(random.begin() + o, random.begin() + o + s.H * T);
      const double p = a.time(x, T), q = b.time(x, T);
      if (r == 0) continue;
      ta.push_back(p), tb.push_back(q), ratio.push_back(q / p);
      if (r % 8 == 1) rate.push_back(read_rate(cpu));
      if (a.ours) share.push_back(a.ours->bytes() / p / 1e9);
    }
    std::printf(
        "{\"shape\":\"%s\",\"a\":\"%s\",\"b\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"T\":%d,"
        "\"rounds\":%zu,\"ratio\":%.2f,\"low\":%.2f,\"high\":%.2f,\"a_us\":%.0f,\"b_us\":%.0f,"
        "\"a_gops\":%.0f,\"read_share\":%.2f}\n",
        name.c_str(), argv[2], argv[3], cpu.kernels.name, threads, T, ratio.size(),
        quantile(ratio, .5), quantile(ratio, .1), quantile(ratio, .9), quantile(ta, .5) * 1e6,
        quantile(tb, .5) * 1e6, 6e-9 * s.H * s.I * s.K * T / quantile(ta, .5),
        share.empty() ? 0. : quantile(share, .5) / quantile(rate, .5));
    std::fflush(stdout);
  }
}
