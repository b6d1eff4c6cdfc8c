;;; mailsync-mode-line.el --- The state of mailsync in the mode line  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The state of the whole in a word or two, computed when something changes
;; and kept as a string, since a mode line is drawn with every key.  Mode lines
;; are only drawn anew for it where one shows it, which costs more than all the rest.  All of it
;; is shown by mailsync-status.el.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-options)
(require 'mailsync-accounts)
(require 'mailsync-remote)
(require 'mailsync-sync-say)

;;;; Internal variables

(defconst mailsync-mode-line--kinds
  '((error mailsync-trouble "✗")
    (no-server mailsync-resting "∅")
    (no-account mailsync-trouble "∅")
    (stopped mailsync-trouble "‖")
    (failing mailsync-trouble "↯")
    (waiting mailsync-trouble "…")
    (offline mailsync-offline "⊘")
    (syncing mailsync-busy "⇅")
    (paused mailsync-resting "‖")
    (checking mailsync-busy "⟳")
    (pending mailsync-pending "⟳")
    (to-sync mailsync-pending "⇡")
    (starting mailsync-busy "…")
    (elsewhere mailsync-resting "≈")
    (watching mailsync-well "✓"))
  "Kinds of states, each with its face and its sign.
`stopped' is a pause that waits for the user.")

(defvar mailsync-mode-line '(:eval (mailsync-mode-line--draw))
  "What the mode line of the Group buffer shows, and any other that you like.
That is the state and, with `mailsync-gnus-mode-line-groups', how
much is unread.")
(put 'mailsync-mode-line 'risky-local-variable t)

(defvar mailsync-mode-line--string nil
  "What there is to be shown, or nil for nothing.")

(defvar mailsync-mode-line--drawn t
  "Non-nil if a mode line may have been drawn since that changed last.")

(defconst mailsync-mode-line--patience 0.2
  "While changes wait for their check, draw the mode line after so many seconds.
Most checks have ended by then, and it need not be drawn twice more.")

(defvar mailsync-mode-line--timer nil
  "The timer that draws the mode line, or nil.")

(defvar mailsync-mode-line-map
  (let ((map (make-sparse-keymap)))
    (define-key map [mode-line mouse-1] #'mailsync-status)
    (define-key map [mode-line mouse-3] #'mailsync-menu-popup)
    map)
  "Keymap of the state in the mode line.")

;;;; Declarations

(defvar mailsync--checking)
(defvar mailsync-sync--states)
(defvar mailsync--states)
(defvar mailsync-mode)
(declare-function mailsync--pending "mailsync-dispatch")
(declare-function mailsync-gnus-total-text "mailsync-gnus-total" ())
(declare-function mailsync-menu-popup "mailsync-menu" (event))
(declare-function mailsync-status "mailsync-status")
(declare-function mailsync-sync-state "mailsync-sync")

;;;; Code

(defun mailsync-mode-line--summary ()
  "The state of the whole in a word or two, and whether it needs the user."
  (pcase-let ((`(,kind ,text) (mailsync-mode-line--look)))
    (cons text (and (memq (mailsync-mode-line--face kind)
                          '(mailsync-trouble mailsync-offline))
                    t))))

(defun mailsync-mode-line--face (kind)
  "The face of a state of KIND."
  (nth 1 (assq kind mailsync-mode-line--kinds)))

(defun mailsync-mode-line--sign (kind number)
  "The sign for a state of KIND with NUMBER, or nil if it cannot be shown."
  (let ((sign (nth 2 (assq kind mailsync-mode-line--kinds))))
    (and (char-displayable-p (aref sign 0))
         (if number (format "%s%d" sign number) sign))))

(defun mailsync-mode-line--look ()
  "The state of the whole: (KIND TEXT NUMBER), NUMBER nil where there is none.
KIND is one of `mailsync-mode-line--kinds', TEXT a word or two."
  (let* ((states (mapcar #'cadr mailsync--states))
         (pending (mailsync--pending))
         (syncs (mapcar #'cdr mailsync-sync--states))
         (phases (mapcar (lambda (sync) (plist-get sync :phase)) syncs))
         (progress (apply #'+ (mapcar #'mailsync-mode-line--progress syncs)))
         (to-sync (apply #'+ (mapcar #'mailsync-mode-line--to-sync syncs))))
    (cond
     ((or (memq 'error states) mailsync-accounts--faults) '(error "error"))
     ((and (null states) (eq mailsync-accounts--discovered 'looking))
      '(starting "starting"))
     ;; Gnus may yet open a server.
     ((and (null states) (bound-and-true-p mailsync-gnus-watch-nnimap))
      '(no-server "no server"))
     ((null states) '(no-account "no account"))
     ;; What waits for the user comes before what is tried again.
     ((and (memq 'paused phases)
           (seq-some (lambda (sync)
                       (and (eq (plist-get sync :phase) 'paused)
                            (not (equal (plist-get sync :text) ""))))
                     syncs))
      '(stopped "paused"))
     ((mailsync-remote-paused-p) '(stopped "paused"))
     ((memq 'failing phases) '(failing "failing"))
     ((memq 'waiting states) '(waiting "waiting"))
     ((mailsync-remote-offline-p) '(offline "offline"))
     ((and (memq 'running phases) (> progress 0))
      (list 'syncing (format "syncing %d" progress) progress))
     ((memq 'running phases) '(syncing "syncing"))
     ((memq 'paused phases) '(paused "paused"))
     (mailsync--checking '(checking "checking"))
     ((> pending 0) (list 'pending (format "%d pending" pending) pending))
     ((> to-sync 0) (list 'to-sync (format "%d to sync" to-sync) to-sync))
     ((or (memq 'starting states) (mailsync-remote-starting-p))
      '(starting "starting"))
     ((memq 'elsewhere phases) '(elsewhere "synced elsewhere"))
     (t '(watching "watching")))))

(defun mailsync-mode-line--progress (sync)
  "How many messages came by the run of SYNC, a plist, if one goes on."
  (if (eq (plist-get sync :phase) 'running) (plist-get sync :progress) 0))

(defun mailsync-mode-line--to-sync (sync)
  "How many folders SYNC, a plist, has to do; everything is one."
  (let ((pending (plist-get sync :pending)))
    (cond
     ((not (eq (plist-get sync :phase) 'pending)) 0)
     ((eq pending 'all) 1)
     (t pending))))

(defun mailsync-mode-line--tooltip ()
  "What the mouse shows over the state."
  (concat (mapconcat (lambda (fault) (concat fault "\n"))
                     mailsync-accounts--faults "")
          (mapconcat (pcase-lambda (`(,account ,state . ,text))
                       (format "%s: %s%s%s" account
                       (or (and (not (mailsync-account-get account :maildir))
                                (mailsync-remote-account-state account))
                           state)
                               (if (member text '("" nil)) "" (concat ", " text))
                               (concat (mailsync-mode-line--sync-words account)
                                       (mailsync-remote-words account))))
                     mailsync--states "\n")
          "\nmouse-1: mailsync-status, mouse-3: menu"))

(defun mailsync-mode-line--help (&rest _)
  "What the mouse shows over the state, and the state in words.
Made when somebody wants to see it: the state changes with each message."
  (mailsync-log-help (concat "mailsync: " (nth 1 (mailsync-mode-line--look)) "\n"
                             (mailsync-mode-line--tooltip))))

(defun mailsync-mode-line--sync-words (account)
  "What the syncs of ACCOUNT are doing, in words for the end of a line."
  (if-let ((sync (mailsync-sync-state account)))
      (let ((text (mailsync-sync-say-text sync)))
        (concat "; " (mailsync-sync-say-phase sync)
                (if (equal text "") "" (concat ": " text))))
    ""))

(defun mailsync-mode-line--format ()
  "`mailsync-mode-line-format', or nil if it is no format."
  (if (or (null mailsync-mode-line-format) (stringp mailsync-mode-line-format))
      mailsync-mode-line-format
    (mailsync--once '(mailsync-mode-line-format) 'error
                    "`mailsync-mode-line-format' is %S, but has to be a string \
or nil; the mode line shows nothing" mailsync-mode-line-format)
    nil))

(defun mailsync-mode-line--state ()
  "The state of the whole as the mode line shows it, \"\" where it shows none."
  (if-let ((format (mailsync-mode-line--format)))
      (pcase-let* ((`(,kind ,text ,number) (mailsync-mode-line--look))
                   (shown (or (and (eq mailsync-mode-line-style 'unicode)
                                   (mailsync-mode-line--sign kind number))
                              text)))
        (propertize
         (replace-regexp-in-string
          "%" "%%" (string-replace "%s" shown format) t t)
         'face (mailsync-mode-line--face kind)
         'help-echo #'mailsync-mode-line--help
         'mouse-face 'mode-line-highlight
         'local-map mailsync-mode-line-map))
    ""))

(defun mailsync-mode-line--text ()
  "What the mode line shows: the state, then how much is unread; nil for nothing."
  (let ((text (concat (mailsync-mode-line--state)
                      (if (fboundp 'mailsync-gnus-total-text)
                          (mailsync-gnus-total-text)
                        ""))))
    (if (equal text "") nil text)))

(defun mailsync-mode-line--draw ()
  "What there is to be shown, for a mode line that is being drawn."
  (setq mailsync-mode-line--drawn t)
  mailsync-mode-line--string)

(defun mailsync-mode-line-update ()
  "Bring the mode line up to date.
While changes wait for their check it is drawn after a moment."
  (let ((new (and mailsync-mode (mailsync-mode-line--text)))
        (due mailsync-mode-line--timer))
    (unless (equal-including-properties new mailsync-mode-line--string)
      (setq mailsync-mode-line--string new)
      ;; If none was drawn since the last time, none shows what is old by now.
      (when mailsync-mode-line--drawn
        (setq due t)))
    (cond
     ((null due))
     ((not (and mailsync-mode
                (or mailsync--checking (> (mailsync--pending) 0))))
      (mailsync-mode-line--redraw))
     ((not (mailsync--armed-p mailsync-mode-line--timer))
      (setq mailsync-mode-line--timer
            (run-at-time mailsync-mode-line--patience nil #'mailsync--undisturbed
                         #'mailsync-mode-line--redraw))))))

(defun mailsync-mode-line--redraw ()
  "Have the mode lines drawn."
  (when (timerp mailsync-mode-line--timer)
    (cancel-timer mailsync-mode-line--timer))
  (setq mailsync-mode-line--timer nil
        mailsync-mode-line--drawn nil)
  (force-mode-line-update t))

(provide 'mailsync-mode-line)
;;; mailsync-mode-line.el ends here
