;;; mailsync-log.el --- What mailsync has to say, kept and said once  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The log is a buffer of bounded size.  Writing to it shows nothing; what
;; the user must know is also said in the echo area, once, by
;; `mailsync--once'.

;;; Code:

(require 'mailsync-options)

;;;; Internal variables

(defconst mailsync-log--levels '(debug info warning error)
  "The levels of lines in the log, the least important first.")

(defconst mailsync-log--faces '((debug . mailsync-log-debug)
                                (info . mailsync-log-info)
                                (warning . mailsync-log-warning)
                                (error . mailsync-log-error))
  "The faces of the levels.")

(defconst mailsync-log--buffer "*mailsync-log*"
  "Name of the log's buffer.")

(defconst mailsync-log--most 100000
  "Characters that the log keeps, roughly.")

(defconst mailsync-log--keys 500
  "How many keys of what was said are remembered.")

(defvar mailsync--quiet nil
  "Non-nil while nobody wants to hear what `mailsync--once' has to say.
For who reads the configuration only to find its faults.")

(defvar mailsync--said nil
  "Keys of what `mailsync--once' has said, newest first.")

;;;; Code

(defvar mailsync-log-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map "v" #'mailsync-log-show)
    (define-key map "w" #'mailsync-log-copy)
    map)
  "Keymap of the log.")

(define-derived-mode mailsync-log-mode special-mode "Mailsync-Log"
  "Major mode of the buffer that shows what mailsync did.
Each line has its level in words, from debug to error; see
`mailsync-log-level'.  \\<mailsync-log-mode-map>\\[mailsync-log-show] hides \
those of less importance, \\[mailsync-log-copy] copies
all for a bug report.

\\{mailsync-log-mode-map}"
  (setq buffer-invisibility-spec nil)
  (setq-local window-point-insertion-type t))

(defun mailsync-log--symbol (level)
  "What is invisible where lines of LEVEL are hidden."
  (intern (format "mailsync-log-hidden-%s" level)))

(defun mailsync-log-show (level)
  "Show the lines of the log that are at least of LEVEL, and hide the others.
What is not kept at all, `mailsync-log-level' says."
  (interactive
   (list (intern (completing-read "Show lines from level on: "
                                  mailsync-log--levels nil t nil nil "info"))))
  (with-current-buffer (mailsync-log--get)
    (setq buffer-invisibility-spec nil)
    (dolist (other mailsync-log--levels)
      (unless (memq other (memq level mailsync-log--levels))
        (add-to-invisibility-spec (mailsync-log--symbol other))))
    (setq mode-line-process (and buffer-invisibility-spec
                                 (format ": %s and worse" level)))
    (force-mode-line-update)))

(defun mailsync-log--get ()
  "The log's buffer, made when it is missing."
  (or (get-buffer mailsync-log--buffer)
      (with-current-buffer (get-buffer-create mailsync-log--buffer)
        (mailsync-log-mode)
        (buffer-disable-undo)
        (current-buffer))))

;;;###autoload
(defun mailsync-log ()
  "Show what mailsync did and what went wrong."
  (interactive)
  (display-buffer (mailsync-log--get)))

(autoload 'mailsync-log-copy "mailsync-report" nil t)

(defun mailsync-log-add (level format &rest args)
  "Add a line to the log: FORMAT with ARGS, of importance LEVEL.
LEVEL is one of the symbols `debug', `info', `warning', `error'.  FORMAT is as
for `format-message'."
  (when (memq level (memq mailsync-log-level mailsync-log--levels))
    (let* ((text (apply #'format-message format args))
           (line (concat (format-time-string "%F %T ")
                         (propertize (format "%-7s" level) 'face
                                     (alist-get level mailsync-log--faces))
                         " " (replace-regexp-in-string "\n" "\n    " text)
                         "\n")))
      (with-current-buffer (mailsync-log--get)
        (let ((inhibit-read-only t)
              (end (= (point) (point-max))))
          (save-excursion
            (goto-char (point-max))
            (insert (propertize line 'invisible (mailsync-log--symbol level)))
            (when (> (buffer-size) mailsync-log--most)
              (goto-char (- (point-max) (/ mailsync-log--most 2)))
              (forward-line)
              (delete-region (point-min) (point))))
          (when end
            (goto-char (point-max))))))))

(defun mailsync-log-time (time)
  "TIME by the clock, with its date if that is not today.
How long ago it was would be wrong as soon as it is shown."
  (format-time-string (if (equal (format-time-string "%F" time)
                                 (format-time-string "%F"))
                          "at %T"
                        "on %F at %R")
                      time))

(defun mailsync-log-shorten (text width)
  "TEXT, with its middle left out if it is wider than WIDTH columns."
  (if (<= (string-width text) width)
      text
    (let* ((half (/ (1- width) 2))
           (end (- (length text) half)))
      (concat (truncate-string-to-width text (- width half 1)) "…"
              (substring text end)))))

(defun mailsync--once (key level format &rest args)
  "Log FORMAT with ARGS at LEVEL and show it to the user, once per KEY.
With nil as LEVEL it is not logged.
`mailsync--once-clear' makes it new again."
  (unless (or mailsync--quiet (member key mailsync--said))
    (push key mailsync--said)
    ;; There is no end of what a syncer can print.
    (when-let ((last (nthcdr (1- mailsync-log--keys) mailsync--said)))
      (setcdr last nil))
    (let ((text (apply #'format-message format args)))
      (when level
        (mailsync-log-add level "%s" text))
      (mailsync--say "%s" text))))

(defun mailsync--say (format &rest args)
  "Show FORMAT with ARGS in the echo area, without a line in the log."
  (let ((text (apply #'format-message format args)))
    ;; A message would cover what the user is being asked or is typing.
    (if (or (minibufferp (window-buffer (selected-window)))
            (> (minibuffer-depth) 0))
        (run-with-idle-timer 2 nil #'message "mailsync: %s" text)
      (message "mailsync: %s" text))))

(defun mailsync--said-p (key)
  "Non-nil if something was said for KEY, and is not new again."
  (member key mailsync--said))

(defun mailsync--once-clear (&optional key)
  "Make what was said for KEY new again; without KEY, everything."
  (setq mailsync--said (and key (delete key mailsync--said))))

(defun mailsync--run-hook-safely (hook &rest args)
  "Run each function of HOOK with ARGS; one that signals stops no other.
It is reported once.  A quit ends the function that it meets."
  (run-hook-wrapped
   hook
   (lambda (function)
     (condition-case err
         ;; We come from a timer, where C-g would have to wait.
         (let ((inhibit-quit nil))
           (apply function args))
       (quit
        (mailsync-log-add 'warning "%s in %s was quit"
                          (mailsync--function-name function) hook))
       (t
        (mailsync--once (list hook function) 'error
                        "%s in %s signals: %s; remove or mend it"
                        (mailsync--function-name function) hook
                        (error-message-string err))))
     nil)))

(defun mailsync--function-name (function)
  "A short name for FUNCTION."
  (if (symbolp function) function "An anonymous function"))

(provide 'mailsync-log)
;;; mailsync-log.el ends here
