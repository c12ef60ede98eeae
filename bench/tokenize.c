/* tokenize FILE [PRE]: a tokenizer as a pipe, for comparisons and timing.
 *
 * Standard input, little-endian: u8 op, u32 flags, u32 n, then n items.
 *   'e'  encode n bytes        answer: u32 count, count int32 ids
 *   'd'  decode n int32 ids    answer: u32 count, count bytes
 *   't'  encode n bytes        answer: u32 8, the seconds of processor time as f64
 * A failure answers u32 0xffffffff, u32 size, a sentence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tern/tokenizer.h>

static void *room(void *p, size_t n)
{
    p = realloc(p, n ? n : 1);
    if (!p) exit(1);
    return p;
}

static void answer(const void *data, uint32_t count, size_t item)
{
    fwrite(&count, 4, 1, stdout);
    fwrite(data, item, count, stdout);
    fflush(stdout);
}

static void refuse(const char *why)
{
    uint32_t head[2] = { UINT32_MAX, (uint32_t)strlen(why) };
    fwrite(head, 4, 2, stdout);
    fwrite(why, 1, head[1], stdout);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    tern_tokenizer *t;
    tern_error      err;
    if (argc < 2) {
        fprintf(stderr, "usage: tokenize FILE [PRE] < requests\n");
        return 2;
    }
    if (tern_tokenizer_open(argv[1], argc > 2 ? argv[2] : NULL, NULL, &t, &err) != TERN_OK) {
        fprintf(stderr, "tokenize: %s\n", err.message);
        return 1;
    }
    uint8_t  op;
    uint32_t head[2];
    char    *in = NULL, *out = NULL;
    while (fread(&op, 1, 1, stdin) == 1 && fread(head, 4, 2, stdin) == 2) {
        size_t n = head[1], bytes = op == 'd' ? n * 4 : n, got = 0, capacity = op == 'd' ? 64 + n * 512 : 64 + n * 4;
        in = room(in, bytes);
        out = room(out, op == 'd' ? capacity : capacity * 4);
        if (bytes && fread(in, 1, bytes, stdin) != bytes) break;
        struct timespec a, b;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        tern_status st = op == 'd' ? tern_decode(t, (const int32_t *)(void *)in, n, head[0], out, capacity, &got, &err)
                                   : tern_encode(t, in, n, head[0], (int32_t *)(void *)out, capacity, &got, &err);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        if (st != TERN_OK) refuse(err.message);
        else if (op == 't') answer(&seconds, 8, 1);
        else answer(out, (uint32_t)got, op == 'd' ? 1 : 4);
    }
    free(in);
    free(out);
    tern_tokenizer_close(t);
    return 0;
}
