/* pa3d in C: names the parts of a 3D shape from free text, without Python.
 *
 *     pa3d_model* model;
 *     pa3d_text* text;
 *     if (pa3d_model_load("model.safetensors", NULL, &model) || pa3d_text_load("minilm-l6-v2.safetensors",
 *         "minilm-tokenizer.json", &text)) fputs(pa3d_error_message(), stderr);
 *     const char* parts[] = {"seat", "back", "leg"};
 *     pa3d_segment(model, text, points, n, parts, 3, "chair", NULL, labels, scores);
 *
 * Every function that can fail returns a pa3d_status; PA3D_OK is 0, and pa3d_error_message() says what went wrong. When
 * a function fails, the content of its output arrays is undefined, and a handle that it would have created is set to
 * NULL. No C++ exception leaves the library.
 *
 * Threads: handles are immutable once created, and any number of threads may use one at once. A call runs on at
 * most `threads` threads: its own, and others of a pool that all calls in the process share. 0 means OMP_NUM_THREADS,
 * or the processors that the process may use. Results do not depend on the number of threads. A forked process has a
 * pool of its own. By default the best instruction set (ISA) of the processor is used. The environment variable
 * PA3D_ISA (generic, avx2, avx512, avx512_bf16; on Arm generic, neon, neon_dotprod, neon_bf16) selects a lower one.
 *
 * Arrays are contiguous and row-major. Strings are NUL-terminated UTF-8. On one machine, labels and scores equal those
 * of Segmenter.segment in the Python package, with the same points and options, refine=False and structure=False, to
 * the bit. pa3d_refine does what refine=True does; the structure of a file is for Python only.
 */
#ifndef PA3D_H
#define PA3D_H

#include <stdint.h>

#define PA3D_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pa3d_status {
  PA3D_OK = 0,
  PA3D_INVALID = 1,     /* an argument cannot be used */
  PA3D_FILE = 2,        /* a file is missing, damaged or of another kind */
  PA3D_UNSUPPORTED = 3, /* this processor cannot do it */
  PA3D_MEMORY = 4,      /* out of memory */
  PA3D_INTERNAL = 5     /* a bug; please report it with the message */
} pa3d_status;

/* The message of this thread's last failed call; "" when no call has failed. Valid until the thread's next failure. */
PA3D_API const char* pa3d_error_message(void);

#define PA3D_VERSION "0.1.0"
#define PA3D_VERSION_NUMBER 100 /* 10000 * major + 100 * minor + patch, for #if */

/* PA3D_VERSION of the library that is loaded. */
PA3D_API const char* pa3d_version(void);

/* How many threads a call with threads = 0 may use: OMP_NUM_THREADS, or the processors of this process. */
PA3D_API int pa3d_thread_count(void);

typedef struct pa3d_model pa3d_model; /* an encoder of shapes, trained for the vectors of one text encoder */
typedef struct pa3d_text pa3d_text;   /* the text encoder that comes with pa3d, all-MiniLM-L6-v2 */

/* path: a .safetensors checkpoint as pa3d writes it. precision: "fp32", "bf16", "int8" or "auto"; NULL means "auto":
 * the fastest that runs here among those that the checkpoint was verified at, or fp32. bf16 and int8 give
 * PA3D_UNSUPPORTED if the processor lacks AVX-512 with BF16 and VNNI; on Arm, bf16 needs BF16 and I8MM, and int8 needs
 * the dot product. */
PA3D_API pa3d_status pa3d_model_load(const char* path, const char* precision, pa3d_model** model);
PA3D_API void pa3d_model_free(pa3d_model* model); /* NULL is fine */

/* weights, tokenizer: paths of minilm-l6-v2.safetensors and minilm-tokenizer.json, which the Python package has in its
 * folder pa3d/weights. */
PA3D_API pa3d_status pa3d_text_load(const char* weights, const char* tokenizer, pa3d_text** text);
PA3D_API void pa3d_text_free(pa3d_text* text); /* NULL is fine */

/* A model's sizes and settings. The text space is the vector space of the text encoder that the model was trained with.
 * Features of patches and vectors of parts both lie in it, so they can be compared by cosine. The strings are owned by
 * the model. */
typedef struct pa3d_info {
  int64_t patches;        /* G: patches that pa3d_encode returns */
  int64_t patch_size;     /* M: points per patch */
  int64_t width;          /* C: size of a token, which is the encoder's vector for a patch */
  int64_t text_width;     /* D: size of a vector in the text space */
  float temperature;      /* cosines are divided by it, which gives the logits */
  const char* text_space; /* name of that text encoder; "all-MiniLM-L6-v2" is the only one that pa3d_text supports */
  const char* prompts;    /* how part names become prompts: auto, part, category or ensemble */
  const char* precision;  /* in use: fp32, bf16 or int8 */
} pa3d_info;

PA3D_API pa3d_status pa3d_model_info(const pa3d_model* model, pa3d_info* info);

/* The axis of the caller's coordinates that points up. */
typedef enum pa3d_up {
  PA3D_UP_X = 0,
  PA3D_UP_Y = 1,
  PA3D_UP_Z = 2,
  PA3D_UP_MINUS_X = 3,
  PA3D_UP_MINUS_Y = 4,
  PA3D_UP_MINUS_Z = 5
} pa3d_up;

/* How a point gets its logits from those of the patches. */
typedef enum pa3d_assign {
  PA3D_NEAREST = 0,    /* those of the patch whose centre is nearest to the point */
  PA3D_MEMBERSHIP = 1, /* the mean over all patches that contain the encoded point nearest to the point */
  PA3D_SMOOTH = 2,     /* of the patches with the three nearest centres, weighted by inverse distance */
  PA3D_OWN = 3         /* the one of the three above that the checkpoint has set as its default */
} pa3d_assign;

typedef struct pa3d_options {
  pa3d_up up;
  pa3d_assign assign;
  float none;     /* points whose best probability is below this get label -1; 0 labels every point. If the model is
                     calibrated, it is the probability among the parts and "none of them" times the part's presence */
  int64_t sample; /* how many randomly drawn points the encoder gets; 0 means every point */
  uint64_t seed;  /* of the random numbers that draw the sample */
  int threads;    /* 0: OMP_NUM_THREADS, or the processors of this process */
} pa3d_options;

/* NULL for options means the defaults: up y, assign PA3D_OWN, none 0, sample 2048, seed 0, threads 0. */
PA3D_API pa3d_options pa3d_default_options(void);

/* Coordinates far from zero, such as those of maps, for the functions below, which take float: centered (n, 3) are
 * points (n, 3) relative to origin (3). The origin is zero unless float would lose precision. Labels belong to the same
 * points. Points with NaN or infinite coordinates keep them. The functions below refuse such points: leave them out. */
PA3D_API pa3d_status pa3d_center(const double* points, int64_t n, float* centered, double* origin);

/* vectors (count, 384): one unit vector per part, the normalised mean over the prompts made from its name.
 * category: what the object is, or NULL. prompts: "auto", "part", "category" or "ensemble"; NULL means "auto".
 * Fails with PA3D_INVALID for names that are not UTF-8, that are empty without their punctuation, or that the encoder
 * cannot tell apart: equal in lower case without punctuation, or with equal vectors (it ignores accents and unknown
 * words). The encoder was trained on English; names in scripts that it cannot read are not reported. */
PA3D_API pa3d_status pa3d_embed_text(const pa3d_text* text, const char* const* parts, int64_t count,
                                     const char* category, const char* prompts, int threads, float* vectors);

/* Text vectors in a file, which `pa3d embed-text` writes: for a fixed list of names, without a text encoder. */
typedef struct pa3d_vectors pa3d_vectors;

PA3D_API pa3d_status pa3d_vectors_load(const char* path, pa3d_vectors** vectors);
PA3D_API void pa3d_vectors_free(pa3d_vectors* vectors); /* NULL is fine */

/* The strings are owned by the vectors. */
typedef struct pa3d_vectors_info {
  int64_t count;          /* how many names */
  int64_t width;          /* D */
  const char* text_space; /* name of the text encoder that made them */
  const char* category;   /* what the prompts said that the object is, or NULL */
} pa3d_vectors_info;

PA3D_API pa3d_status pa3d_vectors_get_info(const pa3d_vectors* vectors, pa3d_vectors_info* info);
/* The name of row i, owned by the vectors; NULL if there is none. */
PA3D_API const char* pa3d_vectors_name(const pa3d_vectors* vectors, int64_t i);

/* out (count, D): the vectors of these names for this model, for pa3d_segment_vectors and pa3d_segment_batch. Names are
 * compared in lower case and without punctuation. Fails with PA3D_INVALID if a name is missing, if the model uses
 * another text space, or if the vectors were made for another category. */
PA3D_API pa3d_status pa3d_vectors_select(const pa3d_vectors* vectors, const pa3d_model* model, const char* const* parts,
                                         int64_t count, const char* category, float* out);

/* points (n, 3) in any units, finite, not all equal; float holds seven digits (see pa3d_center). Only up, sample, seed
 * and threads of the options are used. Any result may be NULL.
 * centers (G, 3): coordinates of the patch centres, in the model's axes and scaled to the unit sphere.
 * members (G, M): indices into points. tokens (G, C). features (G, D): unit vectors in the text space.
 * The embedded model encodes about 1,536 points at a time, so a cloud of 3,840 encoded points or more has more than G
 * patches. The first of every pass are returned, spread over the shape; the functions that label use all of them. */
PA3D_API pa3d_status pa3d_encode(const pa3d_model* model, const float* points, int64_t n, const pa3d_options* options,
                                 float* centers, int64_t* members, float* tokens, float* features);

/* labels (n): index into parts for every point, -1 for none of them; scores (n, count): probabilities, or NULL.
 * Fails with PA3D_INVALID when the model uses another text space than `text`. */
PA3D_API pa3d_status pa3d_segment(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                                  const char* const* parts, int64_t count, const char* category,
                                  const pa3d_options* options, int32_t* labels, float* scores);

/* The same with the caller's vectors (count, D) instead of part names. They must be non-zero and need not be
 * normalised. Use it for models of other text spaces. It also saves embedding the same names again in every call. */
PA3D_API pa3d_status pa3d_segment_vectors(const pa3d_model* model, const float* points, int64_t n, const float* vectors,
                                          int64_t count, const pa3d_options* options, int32_t* labels, float* scores);

/* A mesh: vertices (n, 3); faces (n_faces, 3), indices into vertices. The encoder gets `sample` points drawn uniformly
 * by area from the surface, or every vertex if sample is 0. Results, any of which may be NULL: labels (n) and scores
 * (n, count) of the vertices; face_labels (n_faces) and face_scores (n_faces, count) of the faces, at their centroids.
 */
PA3D_API pa3d_status pa3d_segment_mesh(const pa3d_model* model, const pa3d_text* text, const float* vertices, int64_t n,
                                       const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                                       const char* category, const pa3d_options* options, int32_t* labels,
                                       float* scores, int32_t* face_labels, float* face_scores);

/* The same with the caller's vectors, as in pa3d_segment_vectors. */
PA3D_API pa3d_status pa3d_segment_mesh_vectors(const pa3d_model* model, const float* vertices, int64_t n,
                                               const int32_t* faces, int64_t n_faces, const float* vectors,
                                               int64_t count, const pa3d_options* options, int32_t* labels,
                                               float* scores, int32_t* face_labels, float* face_scores);

/* presence (count): from 0 to 1, how sure it is that the shape has the part at all, by its patches and by what such
 * things have. faces (n_faces, 3) of a mesh, or NULL for a cloud. Fails with PA3D_INVALID for a model without a
 * calibration, such as the official one. */
PA3D_API pa3d_status pa3d_presence(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                                   const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                                   const char* category, const pa3d_options* options, float* presence);

/* A mesh, or a cloud if faces is NULL. */
typedef struct pa3d_shape {
  const float* points; /* (n, 3): vertices or points */
  int64_t n;
  const int32_t* faces; /* (n_faces, 3) or NULL */
  int64_t n_faces;
} pa3d_shape;

/* Where the results of a shape go. Each may be NULL. */
typedef struct pa3d_result {
  int32_t* labels;      /* (n) */
  float* scores;        /* (n, count) */
  int32_t* face_labels; /* (n_faces); only of meshes */
  float* face_scores;   /* (n_faces, count); only of meshes */
  float* presence;      /* (count); only of models with a calibration */
} pa3d_result;

/* shapes (n_shapes) of any sizes, each with the same parts, vectors (count, D); results (n_shapes). The same results,
 * to the bit, as one call per shape. With at least as many shapes as threads, each shape gets one thread. If shapes
 * cannot be used, the call fails, and the message names the first of them. */
PA3D_API pa3d_status pa3d_segment_batch(const pa3d_model* model, const pa3d_shape* shapes, int64_t n_shapes,
                                        const float* vectors, int64_t count, const pa3d_options* options,
                                        const pa3d_result* results);

/* Cleans the borders of parts, as the Python package does by default: the functions above label every point and face
 * for itself. points (n, 3) and faces (n_faces, 3) of the shape that was segmented; faces is NULL for a cloud. The
 * scores, as those functions give them, are replaced: of a cloud, scores (n, count); of a mesh, face_scores (n_faces,
 * count), and scores (n, count) of the vertices become the mean of the scores of their faces, unless scores is NULL.
 * labels and face_labels may be NULL; they become the index of the largest score, without a threshold. Python
 * leaves outliers of a cloud alone, where the model has a factor for them: leave them out for equal results. */
PA3D_API pa3d_status pa3d_refine(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, int64_t count,
                                 int threads, int32_t* labels, float* scores, int32_t* face_labels, float* face_scores);

#ifdef __cplusplus
}
#endif

#endif /* PA3D_H */
