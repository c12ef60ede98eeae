/* Template text to tokens, as jinja2/lexer.py does with trim_blocks and lstrip_blocks:
 *   "{%-" strips white space before a tag, "{%+" keeps it, else a tag's own indentation goes;
 *   "-%}" strips what follows, "+%}" keeps it, else one line feed goes. "{{" and "}}" know only "-". */
#include "tokenizer/template.h"

#include <string.h>

typedef struct lexer {
    tern_jrun *run;
    tern_text  s;
    size_t     at;
    uint32_t   line;
    bool       line_starting;   /* what was matched last ended a line */
    tern_vec  *tokens;
    char       stack[TERN_MAX_TEMPLATE_DEPTH];   /* closing brackets that are due */
    size_t     open;
} lexer;

static bool fail(lexer *x, const char *what)
{
    x->run->line = x->line;
    return tern_j_fail(x->run, "%s", what);
}

static bool emit(lexer *x, tern_jtoken_kind kind, const char *data, size_t size)
{
    tern_jtoken t = { (uint8_t)kind, x->line, { data, size } };
    return tern_vec_append(x->tokens, &t, 1) || tern_j_no_memory(x->run);
}

static void advance(lexer *x, size_t to)
{
    for (; x->at < to; x->at++)
        if (x->s.data[x->at] == '\n') x->line++;
}

static bool at(const lexer *x, size_t i, const char *text)
{
    size_t n = strlen(text);
    return i <= x->s.size && n <= x->s.size - i && memcmp(x->s.data + i, text, n) == 0;
}

static size_t skip_space(const lexer *x, size_t i)
{
    while (i < x->s.size) {
        size_t next = i;
        if (!tern_j_is_space(tern_j_decode(x->s, &next))) break;
        i = next;
    }
    return i;
}

/* The end of a closing tag that may start at i ("-%}", "+%}", "%}"), or 0. */
static size_t closes(const lexer *x, size_t i, const char *end, bool block)
{
    if (i < x->s.size && x->s.data[i] == '-' && at(x, i + 1, end)) return skip_space(x, i + 3);
    if (block && i < x->s.size && x->s.data[i] == '+' && at(x, i + 1, end)) return i + 3;
    if (!at(x, i, end)) return 0;
    return block && at(x, i + 2, "\n") ? i + 3 : i + 2;
}

/* "{% <word> %}" at i: the end of it and its sign, or 0. raw's end keeps its line feed, endraw's loses it. */
static size_t raw_tag(const lexer *x, size_t i, const char *word, char *sign)
{
    if (!at(x, i, "{%")) return 0;
    i += 2;
    *sign = 0;
    if (at(x, i, "-") || at(x, i, "+")) *sign = x->s.data[i++];
    i = skip_space(x, i);
    if (!at(x, i, word)) return 0;
    i = skip_space(x, i + strlen(word));
    if (word[0] == 'e') return closes(x, i, "%}", true);
    if (at(x, i, "-%}")) return skip_space(x, i + 3);
    return at(x, i, "%}") ? i + 2 : 0;
}

/* Text up to `end`, before a tag with this sign. */
static bool data(lexer *x, size_t end, char sign, bool variable)
{
    tern_text t = { x->s.data + x->at, end - x->at };
    if (sign == '-') {
        t = tern_j_strip(t, NULL, false, true);
    } else if (sign != '+' && !variable) {
        size_t from = t.size;
        while (from > 0 && t.data[from - 1] != '\n') from--;
        tern_text last = { t.data + from, t.size - from };
        if ((from > 0 || x->line_starting) && tern_j_strip(last, NULL, true, false).size == 0) t.size = from;
    }
    bool ok = t.size == 0 || emit(x, TERN_T_DATA, t.data, t.size);
    advance(x, end);
    return ok;
}

static void moved(lexer *x, size_t to)
{
    advance(x, to);
    x->line_starting = to > 0 && x->s.data[to - 1] == '\n';
}

static bool is_word(int32_t cp, bool first)
{
    if (cp < 0x80) return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') || cp == '_' || (!first && cp >= '0' && cp <= '9');
    return tern_j_is_printable(cp) && !tern_j_is_space(cp);
}

static bool is_digit(const lexer *x, size_t i) { return i < x->s.size && x->s.data[i] >= '0' && x->s.data[i] <= '9'; }

/* digits with single underscores between them */
static size_t digits(const lexer *x, size_t i)
{
    while (is_digit(x, i) || (i < x->s.size && x->s.data[i] == '_' && is_digit(x, i + 1))) i++;
    return i;
}

static bool is_base_digit(char c, int base)
{
    int v = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
    return v < base;
}

static bool number(lexer *x)
{
    size_t start = x->at, i = digits(x, start), whole = i;
    bool   is_float = false;
    if (!(start > 0 && x->s.data[start - 1] == '.')) {
        if (i < x->s.size && x->s.data[i] == '.' && is_digit(x, i + 1)) {
            i = digits(x, i + 1);
            is_float = true;
        }
        if (i < x->s.size && (x->s.data[i] | 32) == 'e') {
            size_t e = i + 1;
            if (e < x->s.size && (x->s.data[e] == '+' || x->s.data[e] == '-')) e++;
            if (is_digit(x, e)) {
                i = digits(x, e);
                is_float = true;
            }
        }
    }
    if (!is_float) {
        i = whole;
        if (x->s.data[start] == '0') {   /* 0b 0o 0x, or nothing but zeros */
            char mark = start + 1 < x->s.size ? x->s.data[start + 1] | 32 : 0;
            int  base = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
            size_t j = start + 2, first = j;
            while (base && j < x->s.size) {
                size_t d = x->s.data[j] == '_' ? j + 1 : j;
                if (d >= x->s.size || !is_base_digit(x->s.data[d], base)) break;
                j = d + 1;
            }
            if (base && j > first) {
                i = j;
            } else {
                for (i = start + 1; i < x->s.size; i++)
                    if (x->s.data[i] != '0' && !(x->s.data[i] == '_' && i + 1 < x->s.size && x->s.data[i + 1] == '0')) break;
            }
        }
    }
    bool ok = emit(x, is_float ? TERN_T_FLOAT : TERN_T_INT, x->s.data + start, i - start);
    moved(x, i);
    return ok;
}

static bool name(lexer *x)
{
    size_t start = x->at, i = start;
    while (i < x->s.size) {
        size_t next = i;
        if (!is_word(tern_j_decode(x->s, &next), i == start)) break;
        i = next;
    }
    bool ok = emit(x, TERN_T_NAME, x->s.data + start, i - start);
    moved(x, i);
    return ok;
}

static bool string(lexer *x)
{
    size_t start = x->at, i = start + 1;
    while (i < x->s.size && x->s.data[i] != x->s.data[start]) i += x->s.data[i] == '\\' ? 2 : 1;
    if (i >= x->s.size) return fail(x, "a string does not end");
    bool ok = emit(x, TERN_T_STRING, x->s.data + start + 1, i - start - 1);
    moved(x, i + 1);
    return ok;
}

static const struct { char text[3]; uint8_t kind; } operators[] = {
    { "//", TERN_T_FLOORDIV }, { "**", TERN_T_POW }, { "==", TERN_T_EQ }, { "!=", TERN_T_NE }, { ">=", TERN_T_GE },
    { "<=", TERN_T_LE }, { "+", TERN_T_ADD }, { "-", TERN_T_SUB }, { "/", TERN_T_DIV }, { "*", TERN_T_MUL },
    { "%", TERN_T_MOD }, { "~", TERN_T_TILDE }, { "[", TERN_T_LBRACKET }, { "]", TERN_T_RBRACKET }, { "(", TERN_T_LPAREN },
    { ")", TERN_T_RPAREN }, { "{", TERN_T_LBRACE }, { "}", TERN_T_RBRACE }, { ">", TERN_T_GT }, { "<", TERN_T_LT },
    { "=", TERN_T_ASSIGN }, { ".", TERN_T_DOT }, { ":", TERN_T_COLON }, { "|", TERN_T_PIPE }, { ",", TERN_T_COMMA },
    { ";", TERN_T_SEMICOLON },
};

static bool operator(lexer *x)
{
    for (size_t i = 0; i < TERN_COUNT(operators); i++) {
        if (!at(x, x->at, operators[i].text)) continue;
        char c = operators[i].text[0];
        if (c == '(' || c == '[' || c == '{') {
            if (x->open == sizeof x->stack) return fail(x, "brackets are nested too deep");
            x->stack[x->open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (x->open == 0 || x->stack[--x->open] != c) {
                x->run->line = x->line;
                return tern_j_fail(x->run, "unexpected '%c'", c);
            }
        }
        size_t n = strlen(operators[i].text);
        bool   ok = emit(x, operators[i].kind, x->s.data + x->at, n);
        moved(x, x->at + n);
        return ok;
    }
    x->run->line = x->line;
    return tern_j_fail(x->run, "unexpected char '%c'", x->s.data[x->at]);
}

/* Inside a tag, up to and with its end. */
static bool tag(lexer *x, bool block)
{
    x->open = 0;
    while (x->at < x->s.size) {
        size_t end = x->open ? 0 : closes(x, x->at, block ? "%}" : "}}", block);
        if (end) {
            bool ok = emit(x, block ? TERN_T_BLOCK_END : TERN_T_VAR_END, x->s.data + x->at, 2);
            moved(x, end);
            return ok;
        }
        size_t  next = skip_space(x, x->at);
        if (next > x->at) {
            moved(x, next);
            continue;
        }
        char c = x->s.data[x->at];
        size_t after = x->at;
        bool ok;
        if (c >= '0' && c <= '9') ok = number(x);
        else if (is_word(tern_j_decode(x->s, &after), true)) ok = name(x);
        else if (c == '"' || c == '\'') ok = string(x);
        else ok = operator(x);
        if (!ok) return false;
    }
    return true;   /* the parser finds the end of the file */
}

static bool comment(lexer *x)
{
    if (x->at == x->s.size) return true;   /* as jinja2, which wants a character to complain about */
    for (size_t i = x->at; i < x->s.size; i++) {
        size_t end = closes(x, i, "#}", true);
        if (!end) continue;
        moved(x, end);
        return true;
    }
    return fail(x, "missing end of comment tag");
}

static bool raw(lexer *x, size_t end)
{
    moved(x, end);
    if (x->at == x->s.size) return true;
    for (size_t i = x->at; i < x->s.size; i++) {
        char   sign;
        if (x->s.data[i] != '{') continue;
        size_t close = raw_tag(x, i, "endraw", &sign);
        if (!close) continue;
        if (!data(x, i, sign, false)) return false;
        moved(x, close);
        return true;
    }
    return fail(x, "missing end of raw directive");
}

bool tern_j_lex(tern_jrun *run, tern_text source, tern_vec *tokens)
{
    lexer x = { .run = run, .s = source, .line = 1, .line_starting = true, .tokens = tokens };
    while (x.at < source.size) {
        size_t i = x.at;
        while (i + 1 < source.size && !(source.data[i] == '{' && strchr("{%#", source.data[i + 1]) && source.data[i + 1])) i++;
        if (i + 1 >= source.size) {
            if (!emit(&x, TERN_T_DATA, source.data + x.at, source.size - x.at)) return false;
            break;
        }
        char   kind = source.data[i + 1], sign;
        size_t end = kind == '%' ? raw_tag(&x, i, "raw", &sign) : 0;
        if (end) {
            if (!data(&x, i, sign, false) || !raw(&x, end)) return false;
            continue;
        }
        size_t begin = i + 2;
        sign = 0;
        if (at(&x, begin, "-") || at(&x, begin, "+")) sign = source.data[begin++];
        if (!data(&x, i, sign, kind == '{')) return false;
        if (kind != '#' && !emit(&x, kind == '{' ? TERN_T_VAR_BEGIN : TERN_T_BLOCK_BEGIN, source.data + i, 2)) return false;
        moved(&x, begin);
        if (!(kind == '#' ? comment(&x) : tag(&x, kind == '%'))) return false;
    }
    run->line = x.line;
    return emit(&x, TERN_T_EOF, source.data + source.size, 0);
}
