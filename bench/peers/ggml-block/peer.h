// The same block through ggml's public graph API, as llama.cpp builds it, on the CPU library that
// its loader chooses.
#pragma once
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

struct Peer {
  int64_t H, I, E;
  int K;
  ggml_backend_t backend;
  ggml_context *wc, *gc, *cc = nullptr;
  ggml_tensor *up, *gate, *down, *router, *x = nullptr;
  ggml_cgraph* graph = nullptr;
  ggml_gallocr_t alloc = nullptr;
  ggml_backend_buffer_t weights, rest;
  std::string buffer = "CPU";

  Peer(ggml_type type, int H, int I, int E, int K, int threads) : H(H), I(I), E(E), K(K) {
    static bool loaded = (ggml_backend_load_all_from_path(getenv("GGML_DIR")), true);
    (void)loaded;
    backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
    ggml_backend_dev_t dev = ggml_backend_get_device(backend);
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
    ((ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
        reg, "ggml_backend_set_n_threads"))(backend, threads);
    const auto extra = (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
        reg, "ggml_backend_dev_get_extra_bufts");
    const ggml_init_params p = {ggml_tensor_overhead() * 16, nullptr, true};
    wc = ggml_init(p), gc = ggml_init(p);
    up = ggml_new_tensor_3d(wc, type, H, I, E), gate = ggml_new_tensor_3d(wc, type, H, I, E);
    down = ggml_new_tensor_3d(wc, type, I, H, E),
    router = ggml_new_tensor_2d(gc, GGML_TYPE_F32, H, E);
    ggml_backend_buffer_type_t kind = ggml_backend_dev_buffer_type(dev);
    if (extra && !getenv("NOREPACK"))
      for (auto* b = extra(dev); b && *b; ++b) {  // the first that runs MUL_MAT_ID on this type
        ggml_context* t = ggml_init(p);
        ggml_tensor* w = ggml_new_tensor_3d(t, type, H, I, E);
        ggml_tensor* op = ggml_mul_mat_id(t, w, ggml_new_tensor_3d(t, GGML_TYPE_F32, H, 1, 4),
                                          ggml_new_tensor_2d(t, GGML_TYPE_I32, K, 4));
        w->buffer = ggml_backend_buft_alloc_buffer(*b, 0);
        const bool ok = ggml_backend_dev_supports_op(dev, op);
        ggml_backend_buffer_free(w->buffer);
        ggml_free(t);
        if (!ok) continue;
        kind = *b, buffer = ggml_backend_buft_name(*b);
        break;
      }
    weights = ggml_backend_alloc_ctx_tensors_from_buft(wc, kind);
    rest = ggml_backend_alloc_ctx_tensors(gc, backend);
    std::mt19937 g(1);
    std::normal_distribution<float> normal;
    std::vector<float> random(1 << 20);
    for (float& v : random) v = normal(g);
    for (ggml_tensor* t : {up, gate, down}) {
      const float scale = (t == down ? .2f : 1.f) / std::sqrt((float)t->ne[0]);
      std::vector<float> v((size_t)(t->ne[0] * t->ne[1]));
      const size_t o = g();
      for (size_t i = 0; i < v.size(); ++i) v[i] = scale * random[(i + o) & ((1 << 20) - 1)];
      const size_t one = ggml_row_size(t->type, t->ne[0]) * (size_t)t->ne[1];
      std::vector<char> q(one * (size_t)t->ne[2]);
      ggml_quantize_chunk(t->type, v.data(), q.data(), 0, t->ne[1], t->ne[0], nullptr);
      for (int64_t e = 1; e < t->ne[2]; ++e) memcpy(q.data() + e * one, q.data(), one);
      ggml_backend_tensor_set(t, q.data(), 0, q.size());
    }
    std::vector<float> r((size_t)(H * E));
    for (float& v : r) v = normal(g) / std::sqrt((float)H);
    ggml_backend_tensor_set(router, r.data(), 0, r.size() * 4);
  }
  void prepare(int T) {
    if (cc) ggml_gallocr_free(alloc), ggml_free(cc);
    cc = ggml_init({ggml_tensor_overhead() * 256 + ggml_graph_overhead(), nullptr, true});
    graph = ggml_new_graph(cc);
    x = ggml_new_tensor_2d(cc, GGML_TYPE_F32, H, T);
    ggml_set_input(x);
    ggml_tensor* n = ggml_rms_norm(cc, x, 1e-5f);
    ggml_tensor* p = ggml_soft_max(cc, ggml_mul_mat(cc, router, n));
    ggml_tensor* ids = ggml_argsort_top_k(cc, p, K);
    ggml_tensor* w =
        ggml_reshape_2d(cc, ggml_get_rows(cc, ggml_reshape_3d(cc, p, 1, E, T), ids), K, T);
    w = ggml_reshape_3d(cc, ggml_div(cc, w, ggml_sum_rows(cc, w)), 1, K, T);
    ggml_tensor* x3 = ggml_reshape_3d(cc, n, H, 1, T);
    ggml_tensor *u = ggml_mul_mat_id(cc, up, x3, ids), *a = ggml_mul_mat_id(cc, gate, x3, ids);
    ggml_tensor* d = ggml_mul(cc, ggml_mul_mat_id(cc, down, ggml_swiglu_split(cc, a, u), ids), w);
    ggml_tensor* sum = nullptr;
    for (int k = 0; k < K; ++k) {
      ggml_tensor* v = ggml_view_2d(cc, d, H, T, d->nb[2], (size_t)k * d->nb[1]);
      sum = sum ? ggml_add(cc, sum, v) : v;
    }
    sum = ggml_add(cc, x, sum);
    ggml_set_output(sum);
    ggml_build_forward_expand(graph, sum);
    alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    ggml_gallocr_alloc_graph(alloc, graph);
  }
  void run(const float* values, int T) {
    ggml_backend_tensor_set(x, values, 0, (size_t)(H * T) * 4);
    ggml_backend_graph_compute(backend, graph);
  }
  ~Peer() {
    if (cc) ggml_gallocr_free(alloc), ggml_free(cc);
    ggml_backend_buffer_free(weights), ggml_backend_buffer_free(rest);
    ggml_free(wc), ggml_free(gc), ggml_backend_free(backend);
  }
};
