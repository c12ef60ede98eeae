/* Inside of the session, for generation: reading ahead of the text. */
#ifndef TERN_GENERATE_SESSION_H
#define TERN_GENERATE_SESSION_H

#include <tern/session.h>

/* Read tokens[0] and, ahead of the text, the guesses tokens[1..n) behind it, in one pass. Only tokens[0] counts then;
 * the others wait for tern_session_keep, and whatever else reads or truncates forgets them.
 *
 *   n        in [1, 1 + tern_session_ahead_max]
 *   logits   receives (n,V), rows `stride` floats apart; borrowed until the next read
 *
 * Errors: as tern_session_read; the session is unchanged then. */
TERN_USE_RESULT tern_status tern_session_read_ahead(tern_session *s, const int32_t *tokens, size_t n, const float **logits,
                                                    size_t *stride, tern_error *err);
/* The next of the tokens that were read ahead belongs to the text. */
void tern_session_keep(tern_session *s);
/* Tokens that one pass may read ahead. */
int32_t tern_session_ahead_max(const tern_session *s);
/* The tokens read so far with `next` behind them, which is not read: (length + 1). The context must not be full. Not
 * while tokens wait for tern_session_keep. */
const int32_t *tern_session_tokens_and(tern_session *s, int32_t next);
/* Report progress as another session does. */
void tern_session_progress_like(tern_session *s, const tern_session *other);

#endif
