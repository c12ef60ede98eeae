/* What an architecture is: one descriptor, in model/arch_<id>.c. See docs/add-an-architecture.md. */
#ifndef TERN_MODEL_ARCH_H
#define TERN_MODEL_ARCH_H

#include "model/model.h"

/* One configuration value: where each kind of file has it, and where it goes. In GGUF keys "%s" stands for
 * general.architecture. A column may name several keys, separated by spaces: the first that is there counts; NULL:
 * never in such files. `otherwise` is used when no key is there and `required` is false. */
typedef struct tern_config_row {
    const char *gguf;      /* "%s.embedding_length"                        */
    const char *hf;        /* "hidden_size"                                */
    const char *other;     /* llama2.c and ternary llama2.c files: "dim"   */
    char        kind;      /* 'i' int32_t, 'f' float, 'b' bool             */
    size_t      offset;    /* in tern_config                               */
    bool        required;
    double      min, max, otherwise;
} tern_config_row;

/* One tensor: its role, and its name in each kind of file, %d being the layer; several names as above. rows and
 * columns are sums of products of numbers and letters of tern_config ("V", "H*D", "H*D+2*K*D"; P: context, S: pairs of
 * rotating columns), checked at load; vectors have rows only. */
typedef struct tern_tensor_row {
    tern_role   role;
    const char *gguf, *hf, *other;  /* NULL: never in such files                              */
    const char *rows, *columns;
    bool        optional;
    bool        transposed;         /* hf only: stored (K,N), as GPT-2's Conv1D               */
    bool        plus_one;           /* hf only: 1 is added to every element (Gemma's norms)   */
} tern_tensor_row;

struct tern_arch {
    const char *name;
    const char *gguf;               /* values of general.architecture, separated by spaces, or NULL  */
    const char *hf;                 /* values of config.json's model_type or architectures[0], or NULL */
    tern_source_kind other;         /* llama2c or bitllama: this kind too; TERN_SOURCE_GGUF: none    */
    bool interleaved;               /* GGUF files hold the rows of q and k in the order of interleaved rotation */
    const struct tern_arch *as;     /* without a GGUF form of its own: the architecture whose graph this is, */
    float as_eps;                   /* with that epsilon in its norms; NULL: none                            */
    bool zeros;                     /* between its gated activation and `down` is nothing that zeros do not pass */
    const tern_config_row *config;
    size_t n_config;
    const tern_tensor_row *tensor;
    size_t n_tensor;
    /* After the rows are read: derive and check what rows cannot say. `name`: what "%s" stands for. May be NULL. */
    tern_status (*prepare)(const tern_source *s, const char *name, tern_config *c, tern_error *err);
    /* After the tensors are there: make what the file does not hold. May be NULL. */
    tern_status (*finish)(tern_model *m, tern_error *err);
    /* The one forward pass. */
    void (*forward)(tern_builder *b, const tern_model *m);
};

#define TERN_ARCH(id) extern const tern_arch tern_arch_##id;
#include "model/archs.def"
#undef TERN_ARCH

/* The descriptor for this source, and what the source calls it. Errors: UNSUPPORTED, listing the known ones. */
TERN_USE_RESULT tern_status tern_arch_find(const tern_source *s, const tern_arch **out, char name[64], tern_error *err);

#endif
