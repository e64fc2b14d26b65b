// How a failure is told to a person.
import { ApiError, Unreachable } from "/api.js";
import { t } from "/i18n.js";
import { FormError } from "/settings.js";

export function explain(error) {
  if (error instanceof FormError) return error.message;
  if (error instanceof Unreachable) return t("offline");
  if (error instanceof ApiError) {
    if (error.status === 401) return t("key_missing");
    if (error.status === 429 || error.status === 503) {
      return error.retryAfter ? t("error_busy_seconds", { seconds: error.retryAfter }) : t("error_busy");
    }
    return t("error_refused", { message: error.message });
  }
  return t("error_other", { message: error.message });
}

/// Shows `text` in an element that screen readers speak when it appears; nothing hides it.
export function showError(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}
