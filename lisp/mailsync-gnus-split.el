;;; mailsync-gnus-split.el --- Have Gnus split mail by the user's rules  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Which nnimap groups are inboxes that Gnus splits, and how it is made to;
;; and, for mail sources too (mailsync-gnus-sources.el), what happens when
;; one of the user's rules is wrong.
;;
;; Gnus puts a message at which a function signals an error into a group
;; called "bogus", after it has waited for a second.  What a fetch took out
;; of a maildir has to go somewhere, so it goes there.  In an nnimap inbox
;; it stays where it is: nobody asked for a mailbox "bogus" on the server,
;; nobody would look there, and once the rule is mended it is split.
;;
;; nnimap splits all that is in an inbox at once.  Between the two there is
;; a buffer with the messages and a hook, `nnmail-prepare-incoming-hook':
;; what we delete from that buffer stays in the inbox for the next time.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)

;;;; Internal variables

(defconst mailsync-gnus--split-time 0.03
  "Let the rules of nnimap work for so many seconds in one go.
Or for as long as the server took to bring the messages, if that
was longer.")

(defconst mailsync-gnus--split-time-in-hurry 0.008
  "`mailsync-gnus--split-time' while the user types.")

(defvar mailsync-gnus--split-methods nil
  "The function by which Gnus would split, while it splits by ours.")

(defvar mailsync-gnus--split-error nil
  "The last error of a rule of the user's while Gnus splits.")

(defvar mailsync-gnus--split-refuge nil
  "Where a message goes at which a function signals, a list of groups.")

(defvar mailsync-gnus--split-unfit nil
  "Regexp of names that no group can have where Gnus splits, or nil.
nnmaildir drops a message that is to go to one of these.")

(defvar mailsync-gnus--split-pace nil
  "How many seconds the rules took for a message the last time, or nil.")

(defvar mailsync-gnus--split-seen nil
  "Alist from nnimap server to messages that were split in a part of its inbox.
Those that stayed there must not keep the others from their turn.")

(defvar mailsync-gnus--split-portion nil
  "The `mailsync-gnus--portion' that is being split.")

;;;; Declarations

(defvar mailsync-gnus--last-error)
(defvar nnimap-inbox)
(defvar nnmail-inhibit-default-split-group)
(defvar nnmail-prepare-incoming-hook)
(defvar nnmail-prepare-incoming-message-hook)
(defvar nnmail-split-history)
(defvar nnmail-split-methods)
(defvar nntp-server-buffer)

(declare-function gnus-group-prefixed-name "gnus" (group method &optional full))
(declare-function gnus-request-scan "gnus-int" (group command-method))
(declare-function nnimap-find-process-buffer "nnimap" (buffer))
(declare-function nnimap-open-server "nnimap"
                  (server &optional defs no-reconnect))
(declare-function nnoo-current-server "nnoo" (backend))
(declare-function nnoo-variables "nnoo" (backend))

(declare-function mailsync--once "mailsync-log" (key level format &rest args))

;;;; What is split

(defun mailsync-gnus--server-value (method variable)
  "The value that VARIABLE of the back end has for the server METHOD."
  (let ((given (assq variable (cddr method))))
    (cond
     (given (cadr given))
     ;; The variable has the value of the server that was used last;
     ;; the default is kept here once a server has been opened.
     ((and (featurep 'nnoo)
           (assq variable (nnoo-variables (car method)))
           (not (equal (nnoo-current-server (car method))
                       "*internal-non-initialized-backend*")))
      (cdr (assq variable (nnoo-variables (car method)))))
     (t (and (boundp variable) (symbol-value variable))))))

(defun mailsync-gnus--inboxes (method)
  "The groups of METHOD that are inboxes which Gnus splits."
  (when (and mailsync-gnus-split
             (eq (car method) 'nnimap)
             (mailsync-gnus--server-value method 'nnimap-split-methods))
    (mapcar (lambda (name)
              (gnus-group-prefixed-name
               ;; A server takes any spelling of this one.
               (if (equal (upcase name) "INBOX") "INBOX" name)
               method))
            (ensure-list (mailsync-gnus--server-value method 'nnimap-inbox)))))

(defun mailsync-gnus--splits-p (group method)
  "Non-nil if GROUP of METHOD is an inbox that Gnus splits."
  (member group (mailsync-gnus--inboxes method)))

;;;; The user's rules

(defun mailsync-gnus--split-function (methods)
  "The function that Gnus calls to split by METHODS, or nil.
METHODS is a value of `nnmail-split-methods'."
  (cond
   ((null methods) nil)
   ((and (symbolp methods) (fboundp methods)) methods)
   ((not (consp (car-safe methods))) 'nnmail-split-fancy)
   ;; All of it goes to the one group that there is.
   ((and (null (cdr methods)) (not nnmail-inhibit-default-split-group)) nil)
   ;; It decides by the first rule what all are.
   ((pcase (car methods) (`(,(pred stringp) ,(pred stringp)) t)) nil)
   (t 'nnmail-split-fancy)))

(defun mailsync-gnus--guarded-methods (methods)
  "METHODS as in `nnmail-split-methods', but an error of a rule is noted.
Of rules in a list Gnus ignores those.  After an error of a
function it waits for a second or a key first, which cannot be
done here."
  (cond
   ((setq mailsync-gnus--split-methods (mailsync-gnus--split-function methods))
    #'mailsync-gnus--split-by-function)
   ((and (proper-list-p methods) (cl-every #'proper-list-p methods))
    (mapcar #'mailsync-gnus--guarded-rule methods))
   (t methods)))

(defun mailsync-gnus--split-by-function ()
  "The groups of the current message, as the user's function has it."
  (let ((nnmail-split-methods mailsync-gnus--split-methods))
    (condition-case err
        (let ((groups (funcall nnmail-split-methods)))
          (unless (mailsync-gnus--split-result-p groups)
            ;; Gnus would stumble over it, with all the other messages.
            (error "The groups of a message cannot be %S" groups))
          groups)
      (error
       (setq mailsync-gnus--split-error err)
       (copy-sequence mailsync-gnus--split-refuge)))))

(defun mailsync-gnus--split-result-p (groups)
  "Non-nil if GROUPS is what a function may say where a message goes."
  (and (proper-list-p groups)
       (cl-every (lambda (group)
                   (or (eq group 'junk)
                       (and (stringp group)
                            (not (mailsync-gnus--unfit-p group)))))
                 groups)))

(defun mailsync-gnus--unfit-p (name)
  "Non-nil if no group where Gnus splits can have this NAME."
  (and (stringp name)
       mailsync-gnus--split-unfit
       (string-match-p mailsync-gnus--split-unfit name)))

(defun mailsync-gnus--guarded-rule (rule)
  "RULE of `nnmail-split-methods'; if it has a function, with its errors noted."
  (pcase rule
    (`(,(and (pred mailsync-gnus--unfit-p) group) . ,rest)
     (setq mailsync-gnus--split-error
           (list 'user-error (format "No group can be called %S" group)))
     (mailsync-gnus--guarded-rule (append mailsync-gnus--split-refuge rest)))
    (`(,group ,(and (pred (not stringp)) predicate))
     (list group (lambda (name)
                   (condition-case err
                       (funcall predicate name)
                     (error
                      (setq mailsync-gnus--split-error err)
                      nil)))))
    (_ rule)))

(defun mailsync-gnus--say-split-error (name place rules stays)
  "Say that one of RULES signals an error at mail of PLACE, which has a NAME.
Say it once.  STAYS is where the message is if it is a function."
  (let ((text (error-message-string mailsync-gnus--split-error)))
    (setq mailsync-gnus--last-error (cons place text))
    (mailsync--once (list 'gnus-split place (car mailsync-gnus--split-error))
                    'error
                    "%s: `nnmail-split-methods' signals: %s; %s"
                    name text
                    (cond
                     ((mailsync-gnus--split-function rules)
                      (format "%s is wrong, its mail %s"
                              (mailsync-gnus--split-function rules) stays))
                     ((eq (car mailsync-gnus--split-error) 'user-error)
                      (concat "the mail of that rule " stays))
                     (t "Gnus ignores that rule")))))

;;;; nnimap

(cl-defstruct (mailsync-gnus--portion
               (:constructor mailsync-gnus--make-portion)
               (:copier nil))
  "A part of the messages in nnimap inboxes, which is being split."
  (begun (float-time)) ; when the server was asked
  seen                 ; (INBOX . UID) of messages that had their turn
  rules                ; the user's, as nnimap has them
  (count 0)            ; messages of this inbox
  since time           ; when the rules began, how long they may work
  more                 ; non-nil: messages are left for the next time
  alive)               ; function to be called when something happens

(defun mailsync-gnus--split (method)
  "Have METHOD split its inboxes, or some of the messages there.
Return a list (RESULT GROUPS): RESULT is `checked', `partial' (there
is more to be split), `quit' (by the user), or a string that says why
it failed; GROUPS are those to which mail went, in any case."
  (require 'nnmail)
  (let* ((history nil)
         (name (mailsync-gnus--server-name method))
         (server (mailsync-gnus--imap-server method))
         (mailsync-gnus--split-error nil)
         (mailsync-gnus--split-refuge nil)
         (portion (mailsync-gnus--make-portion
                   :seen (cdr (assoc name mailsync-gnus--split-seen))))
         (result
          (condition-case err
              (if (mailsync-gnus--noting-splits history
                    (mailsync-gnus--quietly
                      (mailsync-gnus--split-portion method server portion)
                      t))
                  (if (mailsync-gnus--portion-more portion) 'partial 'checked)
                (mailsync-gnus--imap-drop server)
                'quit)
            (error (error-message-string err)))))
    (setf (alist-get name mailsync-gnus--split-seen nil t #'equal)
          (and (eq result 'partial) (mailsync-gnus--portion-seen portion)))
    (when mailsync-gnus--split-error
      (mailsync-gnus--say-split-error name name
                                      (mailsync-gnus--portion-rules portion)
                                      "stays in the inbox"))
    (list result (mailsync-gnus--split-destinations history))))

(defun mailsync-gnus--split-portion (method server portion)
  "Have METHOD split PORTION of its inboxes; SERVER is its connection."
  (let ((mailsync-gnus--split-portion portion)
        ;; Last, for the user's own may change what there is.
        (nnmail-prepare-incoming-hook
         (append (mailsync-gnus--hook-functions nnmail-prepare-incoming-hook)
                 (list #'mailsync-gnus--begin-portion)))
        (nnmail-prepare-incoming-message-hook
         (cons #'mailsync-gnus--limit-portion
               (mailsync-gnus--hook-functions
                nnmail-prepare-incoming-message-hook))))
    (if (mailsync-gnus--imap-asynchronous-p method)
        (mailsync-gnus--split-apart method server portion)
      (gnus-request-scan nil method))))

(defun mailsync-gnus--hook-functions (value)
  "The functions of a hook that has VALUE, which may be one function."
  (if (functionp value) (list value) value))

(defun mailsync-gnus--split-apart (method server portion)
  "Have METHOD split PORTION on our connection, that of SERVER."
  (mailsync-gnus--imap-try
   method
   (lambda () (nnimap-open-server (nth 1 method) (cddr method))))
  (setf (mailsync-gnus--imap-buffer server)
        (nnimap-find-process-buffer
         (get-buffer mailsync-gnus--imap-buffer-name))
        (mailsync-gnus--imap-process server)
        (get-buffer-process (mailsync-gnus--imap-buffer server)))
  (unless (mailsync-gnus--within-life portion
            (lambda ()
              (mailsync-gnus--with-imap-buffer
                (gnus-request-scan nil method))
              t))
    (mailsync-gnus--imap-failed server)
    (error "No answer from %s" (nth 1 method))))

(defun mailsync-gnus--within-life (portion function)
  "Call FUNCTION and return its value, nil if nothing happens for long.
The time that the user's rules take does not count, as PORTION
tells: a connection that was cut then, between the copies and the
deletions, would leave each message there twice."
  (declare (indent 1))
  (let* ((tag (list nil))
         (timer (run-with-timer (mailsync--seconds 'mailsync-gnus-imap-timeout) nil
                                (lambda () (throw tag nil)))))
    (setf (mailsync-gnus--portion-alive portion)
          (lambda ()
            (cancel-timer timer)
            (timer-set-time
             timer (time-add nil (mailsync--seconds 'mailsync-gnus-imap-timeout)))
            (timer-activate timer)))
    (unwind-protect (catch tag (funcall function))
      (cancel-timer timer)
      (setf (mailsync-gnus--portion-alive portion) nil))))

(defun mailsync-gnus--portion-lives (portion)
  "Tell whoever waits for PORTION that something happens."
  (when (mailsync-gnus--portion-alive portion)
    (funcall (mailsync-gnus--portion-alive portion))))

;; The messages are in MMDF's format, with their numbers.
(defconst mailsync-gnus--split-delimiter "^\^A\^A\^A\^A\n"
  "What is between the messages that nnimap is about to split.")

(defun mailsync-gnus--split-key ()
  "What names the message at point, or after it, in an inbox."
  (save-excursion
    (when (re-search-forward "^X-nnimap-article: \\([0-9]+\\)" nil t)
      (cons nnimap-inbox (string-to-number (match-string 1))))))

(defun mailsync-gnus--begin-portion ()
  "Prepare the messages of an nnimap inbox in the current buffer.
For `nnmail-prepare-incoming-hook'."
  (let* ((portion mailsync-gnus--split-portion)
         (now (float-time))
         (took (- now (mailsync-gnus--portion-begun portion))))
    ;; That is bound while an inbox is being split.
    (setf (mailsync-gnus--portion-rules portion) nnmail-split-methods)
    (setq nnmail-split-methods
          (mailsync-gnus--guarded-methods nnmail-split-methods))
    (setf (mailsync-gnus--portion-count portion) 0
          (mailsync-gnus--portion-since portion) now
          (mailsync-gnus--portion-time portion)
          (if mailsync-gnus--hurry
              mailsync-gnus--split-time-in-hurry
            (max mailsync-gnus--split-time took)))
    (mailsync-gnus--portion-lives portion)
    (add-hook 'kill-buffer-hook
              (lambda () (mailsync-gnus--portion-lives portion)) nil t)
    (mailsync-gnus--delete-seen portion)))

(defun mailsync-gnus--delete-seen (portion)
  "Delete the messages in the current buffer that had their turn in PORTION.
One stays if all had: nnimap takes an empty buffer for an error."
  (let ((seen (make-hash-table :test #'equal))
        (some nil))
    (dolist (key (mailsync-gnus--portion-seen portion))
      (puthash key t seen))
    (goto-char (point-max))
    (while (re-search-backward mailsync-gnus--split-delimiter nil t)
      (if (and (gethash (mailsync-gnus--split-key) seen)
               (or some (not (= (point) (point-min)))))
          (delete-region (point)
                         (save-excursion
                           (goto-char (match-end 0))
                           (if (re-search-forward mailsync-gnus--split-delimiter
                                                  nil t)
                               (match-beginning 0)
                             (point-max))))
        (setq some t)))
    (goto-char (point-min))))

(defun mailsync-gnus--limit-portion ()
  "See to it that no other message follows if there is no time for it.
For `nnmail-prepare-incoming-message-hook': the buffer is narrowed
to a message."
  (let* ((portion mailsync-gnus--split-portion)
         (done (mailsync-gnus--portion-count portion))
         (took (- (float-time) (mailsync-gnus--portion-since portion))))
    (mailsync-gnus--portion-lives portion)
    (push (save-excursion (goto-char (point-min)) (mailsync-gnus--split-key))
          (mailsync-gnus--portion-seen portion))
    (setf (mailsync-gnus--portion-count portion) (1+ done))
    (when (> done 0)
      (setq mailsync-gnus--split-pace (/ (max took 0.0) done)))
    (when (and mailsync-gnus--split-pace
               (> (+ took (* 2 mailsync-gnus--split-pace))
                  (mailsync-gnus--portion-time portion)))
      (let ((end (point-max)))
        (save-restriction
          (widen)
          (when (save-excursion
                  (goto-char end)
                  (re-search-forward mailsync-gnus--split-delimiter nil t))
            (setf (mailsync-gnus--portion-more portion) t)
            (delete-region end (point-max))))))))

(provide 'mailsync-gnus-split)
;;; mailsync-gnus-split.el ends here
