/* src/LAYERS is the law: a folder includes only what its line allows, and the program only public headers and base. */
#include "check.h"

#include <dirent.h>
#include <sys/stat.h>

typedef struct layer { char name[32], allowed[256]; } layer;
static layer layers[32];
static int   n_layers, n_files, n_includes;

static const layer *find_layer(const char *name, size_t n)
{
    for (int i = 0; i < n_layers; i++)
        if (strlen(layers[i].name) == n && memcmp(layers[i].name, name, n) == 0) return &layers[i];
    return NULL;
}

/* Whether `word` stands in the space-separated list. */
static int listed(const char *list, const char *word, size_t n)
{
    for (const char *p = list; *p;) {
        p += strspn(p, " ");
        size_t m = strcspn(p, " ");
        if (m == n && memcmp(p, word, n) == 0) return 1;
        p += m;
    }
    return 0;
}

static void check_file(const layer *own, const char *path)
{
    char *text = test_read(path, NULL);
    n_files++;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char target[256];
        if (sscanf(line, " # include \"%255[^\"]\"", target) != 1 && sscanf(line, "#include \"%255[^\"]\"", target) != 1) continue;
        n_includes++;
        size_t n = strcspn(target, "/");
        CHECK_MSG(target[n] == '/', "%s includes \"%s\": write the folder", path, target);
        CHECK_MSG(find_layer(target, n) != NULL, "%s includes \"%s\", which is in no layer", path, target);
        CHECK_MSG((strlen(own->name) == n && memcmp(own->name, target, n) == 0) || listed(own->allowed, target, n),
                  "%s includes \"%s\": %s may use only: %s", path, target, own->name, own->allowed);
    }
    free(text);
}

static void check_folder(const layer *own, const char *path)
{
    DIR *d = opendir(path);
    CHECK_MSG(d != NULL, "src/LAYERS names %s, which does not exist", path);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char inner[8192];
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        struct stat sb;
        if (stat(inner, &sb) == 0 && S_ISDIR(sb.st_mode)) check_folder(own, inner);
        else if (strstr(e->d_name, ".c") || strstr(e->d_name, ".h")) check_file(own, inner);
    }
    closedir(d);
}

TEST(includes_point_down)
{
    char *text = test_read(TERN_SOURCE_DIR "/src/LAYERS", NULL), *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        layer *l = &layers[n_layers++];
        char  *colon = strchr(line, ':');
        CHECK(colon != NULL);
        snprintf(l->name, sizeof l->name, "%.*s", (int)(colon - line), line);
        snprintf(l->allowed, sizeof l->allowed, "%s", colon + 1);
    }
    free(text);
    for (int i = 0; i < n_layers; i++) {
        char path[sizeof TERN_SOURCE_DIR + 64];
        snprintf(path, sizeof path, TERN_SOURCE_DIR "/src/%.31s", layers[i].name);
        check_folder(&layers[i], path);
    }
    fprintf(stderr, "%d files, %d includes\n", n_files, n_includes);
    CHECK(n_files > 20 && n_includes > 50);
}

/* Folders of src are layers, so nothing hides. */
TEST(every_folder_is_a_layer)
{
    DIR *d = opendir(TERN_SOURCE_DIR "/src");
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && strcmp(e->d_name, "LAYERS") != 0)
            CHECK_MSG(find_layer(e->d_name, strlen(e->d_name)) != NULL, "src/%s is not in src/LAYERS", e->d_name);
    closedir(d);
}

/* tern's own memory comes from one allocator: no malloc outside base/memory.c. */
static void check_no_malloc(const char *path)
{
    static const char *const words[] = { "malloc(", "calloc(", "realloc(", "strdup(", "asprintf(" };
    struct stat sb;
    if (stat(path, &sb) == 0 && S_ISDIR(sb.st_mode)) {
        DIR *d = opendir(path);
        for (struct dirent *e; (e = readdir(d));) {
            char inner[8192];
            if (e->d_name[0] == '.' || (strcmp(e->d_name, "cli") == 0 && strstr(path, "/src"))) continue;
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
            check_no_malloc(inner);
        }
        closedir(d);
    } else if (strstr(path, ".c") && !strstr(path, "base/memory.c")) {
        char *text = test_read(path, NULL);
        for (size_t w = 0; w < TERN_COUNT(words); w++) {
            for (char *p = text; (p = strstr(p, words[w])); p++)
                CHECK_MSG(p > text && (p[-1] == '_' || (p[-1] >= 'a' && p[-1] <= 'z')), "%s calls %s", path, words[w]);
        }
        free(text);
    }
}

TEST(no_malloc_in_the_library) { check_no_malloc(TERN_SOURCE_DIR "/src"); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(includes_point_down), cmocka_unit_test(every_folder_is_a_layer), cmocka_unit_test(no_malloc_in_the_library),
    };
    return RUN(tests);
}
