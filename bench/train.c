/* A step of training, without the optimizer: forward and back over a batch of random tokens, and the matrices made anew.
 *
 * usage: train [-t THREADS] [-b SEQUENCES] [-l LENGTH] [-L LAYERS] [-C WIDTH] [-H HEADS] [-V VOCABULARY] [-r RECOMPUTE] [-n ROUNDS] [f32|bf16|ternary|ternary-bf16]
 *
 * A GPT-2 of 124M parameters, 4 sequences of 1024, unless told otherwise. Prints for each round seconds of the forward pass alone, of
 * forward and back, and of making the matrices; operations as 6 N + 6 L C T a token; and their share of the peak
 * that is probed before and behind it. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "bench/limits.h"
#include "train/trainable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(tern_status st, const tern_error *err)
{
    if (st == TERN_OK) return;
    fprintf(stderr, "train: %s\n", err->message);
    exit(1);
}

int main(int argc, char **argv)
{
    int threads = 0, batch = 4, length = 1024, L = 12, C = 768, H = 12, V = 50257, recompute = 0, rounds = 1;
    const char *kind = "f32";
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || i + 1 == argc) {
            kind = argv[i];
            continue;
        }
        int value = atoi(argv[++i]);
        switch (argv[i - 1][1]) {
        case 't': threads = value; break;
        case 'b': batch = value; break;
        case 'l': length = value; break;
        case 'L': L = value; break;
        case 'C': C = value; break;
        case 'H': H = value; break;
        case 'V': V = value; break;
        case 'r': recompute = value; break;
        default: rounds = value;
        }
    }
    char json[400];
    tern_error err;
    tern_source     *source;
    tern_trainable  *t;
    tern_probe       probe;
    tern_train_loss  loss;
    const int rows = batch * length;
    const bool bf16 = strstr(kind, "bf16") != NULL;
    snprintf(json, sizeof json, "{\"model_type\": \"gpt2\", \"n_layer\": %d, \"n_embd\": %d, \"n_head\": %d, \"vocab_size\": %d, \"n_positions\": %d}", L, C,
             H, V, length);
    must(tern_trainable_source(json, strlen(json), NULL, &source, &err), &err);
    tern_trainable_options o = { .rows = rows, .segments = batch, .threads = threads, .bf16 = bf16, .ternary = strncmp(kind, "ternary", 7) == 0,
                                 .recompute = recompute };
    must(tern_trainable_open(source, &o, &t, &err), &err);
    must(tern_probe_open(tern_trainable_pool(t), &tern_allocator_default, &probe, &err), &err);
    int32_t *x = malloc(3 * (size_t)rows * sizeof *x);
    for (int i = 0; i < rows; i++) {
        tern_philox p = tern_philox_at(1, 2, (uint64_t)i);
        x[i]            = (int32_t)(p.v[0] % (uint32_t)V);
        x[rows + i]     = (int32_t)(p.v[1] % (uint32_t)V);
        x[2 * rows + i] = i / length;
    }
    const tern_train_batch b = { rows, x, x + rows, x + 2 * rows };
    const tern_trainable_bytes bytes = tern_trainable_memory(t);
    const double flops = tern_trainable_flops(t, length) * rows;
    printf("%s, %d x %d, %.1f GFLOP a token; GB: parameters %.2f, matrices %.2f, pass %.2f\n", kind, batch, length, tern_trainable_flops(t, length) / 1e9,
           (double)bytes.params / 1e9, (double)bytes.matrices / 1e9, (double)bytes.pass / 1e9);
    for (int r = 0; r < rounds; r++) {
        double before = bf16 ? tern_probe_bf16(&probe) : tern_probe_f32(&probe), start = tern_clock_s(), at[3];
        must(tern_trainable_eval(t, &b, &loss, &err), &err);
        at[0] = tern_clock_s() - start, start = tern_clock_s();
        must(tern_trainable_backward(t, &b, 1.0f / (float)rows, &loss, &err), &err);
        at[1] = tern_clock_s() - start;
        double peak = ((bf16 ? tern_probe_bf16(&probe) : tern_probe_f32(&probe)) + before) / 2;
        start = tern_clock_s();
        tern_trainable_remake(t);
        at[2] = tern_clock_s() - start;
        printf("forward %.2f s, forward and back %.2f s, matrices %.3f s: %.0f tokens/s, %.0f GFLOP/s of %.0f, %.1f %% (forward %.1f %%), loss %.4f\n",
               at[0], at[1], at[2], rows / at[1], flops / at[1] / 1e9, peak / 1e9, 100 * flops / at[1] / peak, 100 * flops / 3 / at[0] / peak,
               loss.sum / (double)loss.tokens);
    }
    tern_probe_close(&probe);
    tern_trainable_close(t);
    free(x);
    return 0;
}
