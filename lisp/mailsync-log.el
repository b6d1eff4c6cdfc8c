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

(defconst mailsync-log-unseen
  (rx (any (0 . 8) (11 . 31) (127 . 159) #x61c #x200e #x200f (#x2028 . #x202e)
           (#x2066 . #x2069)))
  "What changes how the text around it is shown, a regular expression.
Control characters but line breaks and tabs, and characters that turn the
direction of writing or break lines where Emacs does not.")

(defvar mailsync--quiet nil
  "Non-nil while nobody wants to hear what `mailsync--once' has to say.
For who reads the configuration only to find its faults.")

(defvar mailsync--said nil
  "Keys of what `mailsync--once' has said, newest first.")

(defvar mailsync--quit-pause 5
  "Seconds after which what the user has quit is done again.
Until then he is left in peace.")

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
  (setq buffer-invisibility-spec nil
        bidi-paragraph-direction 'left-to-right)
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
    (let* ((text (mailsync-log-clean (apply #'format-message format args)))
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

(defun mailsync-log--escape (text)
  "How TEXT, of one character, is written where it must not have its effect."
  (let ((char (aref text 0)))
    (if (< char 32)
        (format "^%c" (+ char 64))
      (format (if (< char 256) "\\x%02x" "\\u%04x") char))))

(defun mailsync-log-clean (text &optional line)
  "TEXT, in which names and words of others may be, as it may be shown.
What changes how the text around it is shown is escaped, with LINE line breaks
and tabs, too: then it stays one line.  No text property is left."
  (let ((clean (replace-regexp-in-string mailsync-log-unseen
                                         #'mailsync-log--escape text t t)))
    (substring-no-properties
     (if line
         (replace-regexp-in-string "[\n\t]" #'mailsync-log--escape clean t t)
       clean))))

(defun mailsync-log-clean-buffer ()
  "Escape in this buffer what `mailsync-log-clean' does; keep text properties."
  (save-excursion
    (goto-char (point-min))
    (while (re-search-forward mailsync-log-unseen nil t)
      (let ((escaped (mailsync-log--escape (match-string 0)))
            (start (match-beginning 0)))
        (insert-and-inherit escaped)
        (delete-region start (1+ start))))))

(defun mailsync-log-help (text)
  "TEXT, in which names and words of others may be, for a `help-echo'."
  (propertize (mailsync-log-clean text)
              ;; Where there is no such property, Emacs would look for names of
              ;; commands and keymaps in it.
              'help-echo-inhibit-substitution t))

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
  (let ((text (mailsync-log-clean (apply #'format-message format args))))
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

;; C-g in a timer or a filter waits, since `inhibit-quit' is t there.  But at
;; the third one that nobody has taken Emacs lifts that, whatever runs just
;; then; and where it is lifted on purpose, the first one ends what has not
;; even begun.  So what was typed before one of these counts when it is over.
;; Should it come to three within one of them all the same, whatever that may
;; have left is mended (`mailsync--mend').

(defun mailsync--undisturbed (function &rest args)
  "Call FUNCTION with ARGS; no quit ends that, and none is lost.
For what begins in a timer or a filter of ours, and for what must be done whole."
  (let ((inhibit-quit t)
        (earlier quit-flag))
    (setq quit-flag nil)
    (unwind-protect
        (apply function args)
      (when earlier
        (setq quit-flag earlier)))))

(defun mailsync--soon (function &rest args)
  "Call FUNCTION with ARGS, undisturbed, as soon as Emacs is at rest.
Return the timer.  `run-at-time' does so, too, and takes its time for it."
  (let ((timer (timer-create)))
    (timer-set-time timer nil)
    (timer-set-function timer #'mailsync--undisturbed (cons function args))
    (timer-activate timer)
    timer))

(defun mailsync--armed-p (timer)
  "Non-nil if TIMER will run.
A quit that comes when it begins to run leaves it in its list for ever."
  (and (timerp timer)
       (or (memq timer timer-list) (memq timer timer-idle-list))
       (not (timer--triggered timer))))

(defun mailsync--let-quit (function &rest args)
  "Call FUNCTION, which is the user's, with ARGS; a quit while it runs ends it."
  (let ((earlier quit-flag))
    (setq quit-flag nil)
    (unwind-protect
        (let ((inhibit-quit nil))
          (apply function args))
      (when earlier
        (setq quit-flag earlier)))))

(defun mailsync--run-hook-safely (hook &rest args)
  "Run each function of HOOK with ARGS; one that signals stops no other.
It is reported once.  A quit ends the function that it meets."
  (run-hook-wrapped
   hook
   (lambda (function)
     (condition-case err
         (apply #'mailsync--let-quit function args)
       (quit
        (mailsync-log-add 'warning "%s in %s was quit"
                          (mailsync--function-name function) hook))
       (t
        (mailsync--once (list hook function) 'error
                        "%s in %s signals: %s; remove or mend it"
                        (mailsync--function-name function) hook
                        (error-message-string err))))
     nil)))

(defun mailsync--option (option predicate wanted)
  "The value of OPTION, if it satisfies PREDICATE, which wants WANTED, in words.
Otherwise it would stop whatever uses it, again and again, with an error that
does not name it.  So its standard value is used, and the user told so once."
  (if (funcall predicate (symbol-value option))
      (symbol-value option)
    (let ((standard (eval (car (get option 'standard-value)) t)))
      (mailsync--once (list option) 'error "`%s' is %S, but has to be %s; %s is used"
                      option (symbol-value option) wanted standard)
      standard)))

(defun mailsync--seconds (option)
  "The value of OPTION, a number of seconds."
  (mailsync--option option
                    (lambda (value) (and (numberp value) (<= 0 value) (< value 1.0e+INF)))
                    "a number of seconds"))

(defun mailsync--natural (option)
  "The value of OPTION, a natural number."
  (mailsync--option option #'natnump "a natural number"))

(defun mailsync--remote-file-p (name)
  "Non-nil if NAME is that of a file on another machine.
Where Tramp is not loaded, `file-remote-p' would load it to say so."
  (let ((handler (find-file-name-handler name 'file-remote-p)))
    (if (eq handler 'tramp-autoload-file-name-handler)
        (and (bound-and-true-p tramp-mode)
             ;; Of what that handles, "/a:b" is a file here.
             (string-match-p "\\`/[^/:]+:[^/:]*:" name))
      (and handler (file-remote-p name)))))

(defun mailsync--function-name (function)
  "A short name for FUNCTION, or for what stands in the place of one."
  (cond
   ((symbolp function) function)
   ((functionp function) "An anonymous function")
   (t (truncate-string-to-width (format "%S" function) 60 nil nil t))))

(provide 'mailsync-log)
;;; mailsync-log.el ends here
