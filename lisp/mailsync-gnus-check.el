;;; mailsync-gnus-check.el --- Check a Gnus group without disturbing the user  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; How a group is checked without disturbing the user; when, and which, is
;; for mailsync-gnus.el, and nnimap's, of which many can be checked at once
;; and without waiting, are for mailsync-gnus-imap.el.  How nnmaildir is kept
;; from looking at more than it must is for mailsync-gnus-maildir.el.
;;
;; Gnus's command, `gnus-group-get-new-news-this-group', moves point,
;; closes the group and prints.  So its parts are called instead, the
;; generic entry points of gnus-int.el, which are the same for every back
;; end.
;;
;; Every check reports a list (GROUP RESULT OLD NEW): RESULT is `checked',
;; `partial' (there is more to do), `quit' (by the user), or a string that
;; says why it failed; OLD and NEW are numbers of unread messages, or nil.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-topics)
(require 'mailsync-gnus-total)
(require 'mailsync-gnus-ranges)
(require 'mailsync-gnus-maildir)
(require 'mailsync-options)

;;;; Internal variables

(defvar mailsync-gnus--costs (make-hash-table :test #'equal)
  "Group of nnmaildir to the seconds that a look at it in full takes.")

(defconst mailsync-gnus--gc-threshold (* 64 1024 1024)
  "`gc-cons-threshold' during a check.
At its default most of the time of a check is garbage collection.")

(defconst mailsync-gnus--vanished-few 10
  "Have nnmaildir forget so many vanished messages, then look at the clock.")

(defvar mailsync-gnus--vanished-time 0.5
  "Have nnmaildir forget vanished messages for so many seconds in one go.
Input ends that earlier.")

(defvar mailsync-gnus--drawn nil
  "Groups whose lines were drawn since the lines of topics were.")

;;;; Declarations

(defvar gnus-after-getting-new-news-hook)
(defvar gnus-get-new-news-hook)
(defvar gnus-goto-next-group-when-activating)
(defvar gnus-group-buffer)
(defvar gnus-group-default-list-level)
(defvar gnus-group-marked)
(defvar gnus-group-update-group-hook)
(defvar gnus-inhibit-demon)
(defvar gnus-verbose)
(defvar gnus-verbose-backends)
(defvar mail-source-ignore-errors)
(defvar mail-sources)
(defvar nnmail-split-history)
(defvar nsm-noninteractive)

(declare-function gnus-activate-group "gnus-start"
                  (group &optional scan dont-check method dont-sub-check))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-get-unread-articles-in-group "gnus-start"
                  (info active &optional update))
(declare-function gnus-group-get-new-news-this-group "gnus-group"
                  (&optional n dont-scan))
(declare-function gnus-group-update-group "gnus-group"
                  (group &optional visible-only info-unchanged))
(declare-function gnus-list-of-unread-articles "gnus-sum" (group))
(declare-function gnus-request-update-info "gnus-int" (info command-method))
(declare-function gnus-retrieve-headers "gnus-int"
                  (articles group &optional fetch-old))
(declare-function gnus-status-message "gnus-int" (command-method))
(declare-function nnmaildir-base-name-to-article-number "nnmaildir"
                  (base-name group-name server-address-string))

(declare-function mailsync-gnus--news-begin "mailsync-gnus-news" (group))

;;;; Without disturbing

(defmacro mailsync-gnus--quietly (&rest body)
  "Evaluate BODY while Gnus is kept from disturbing the user.
It neither prints nor rings nor asks, and moves no point.  A quit
ends BODY; the value is nil then."
  (declare (indent 0) (debug t))
  `(mailsync-gnus--call-quietly (lambda () ,@body)))

(defun mailsync-gnus--call-quietly (function)
  "Call FUNCTION for `mailsync-gnus--quietly'."
  (let ((inhibit-message t)
        (message-log-max nil)
        (ring-bell-function #'ignore)
        (gnus-verbose 3)
        (gnus-verbose-backends 3)
        (gnus-inhibit-demon t)
        ;; All three: with the first alone, a question about a
        ;; certificate loops for ever.
        (inhibit-interaction t)
        (nsm-noninteractive t)
        (use-dialog-box nil)
        (mail-source-ignore-errors t)
        ;; A check must not fetch mail from elsewhere, which Gnus's
        ;; command would.
        (mail-sources nil)
        (gc-cons-threshold (max gc-cons-threshold mailsync-gnus--gc-threshold))
        (deactivate-mark nil)
        (mailsync-gnus--drawn nil)
        (places (mailsync-gnus--places)))
    (unwind-protect
        (save-match-data
          (save-current-buffer
            (with-local-quit (funcall function))))
      (mailsync-gnus--draw-topics mailsync-gnus--drawn)
      (mailsync-gnus--restore-places places))))

(defun mailsync-gnus--places ()
  "Where point is in the *Group* buffer, for each window of it.
Gnus redraws a line by deleting it, which moves a point that is
on it to its beginning."
  (when-let* ((buffer (get-buffer gnus-group-buffer)))
    (with-current-buffer buffer
      (mapcar (lambda (window)
                (save-excursion
                  (when window (goto-char (window-point window)))
                  (list window
                        (mailsync-gnus--line-at (line-beginning-position))
                        (current-column)
                        (copy-marker (line-beginning-position)))))
              (cons nil (get-buffer-window-list buffer nil t))))))

(defun mailsync-gnus--line-at (position)
  "What the line that begins at POSITION shows: a group or a topic, or nil.
That is a list of the text property by which it is found, and its value."
  (cl-some (lambda (property)
             (let ((value (get-text-property position property)))
               (and value (list property value))))
           '(gnus-group gnus-topic)))

(defun mailsync-gnus--restore-places (places)
  "Put point back to PLACES, wherever the line there was redrawn."
  (when-let* ((buffer (get-buffer gnus-group-buffer)))
    (with-current-buffer buffer
      (pcase-dolist (`(,window ,what ,column ,line) places)
        (when (and what
                   (or (null window)
                       (and (window-live-p window)
                            (eq (window-buffer window) buffer))))
          (let ((place (mailsync-gnus--find-place what column line)))
            (when place
              (if window
                  (unless (= (window-point window) place)
                    (set-window-point window place))
                (goto-char place)))))
        (set-marker line nil)))))

(defun mailsync-gnus--find-place (what column line)
  "The position at COLUMN of the line of WHAT, the one next to the marker LINE.
WHAT is as `mailsync-gnus--line-at' has it.  A group has several
lines where topics are used."
  (save-excursion
    (goto-char line)
    (beginning-of-line)
    (let ((here (point))
          (best nil))
      (if (equal (mailsync-gnus--line-at here) what)
          (setq best here)
        (goto-char (point-min))
        (while (not (eobp))
          (when (and (equal (mailsync-gnus--line-at (point)) what)
                     (or (null best)
                         (< (abs (- (point) here)) (abs (- best here)))))
            (setq best (point)))
          (goto-char (next-single-property-change (point) (car what) nil
                                                  (point-max)))))
      (when best
        (goto-char best)
        (move-to-column column)
        (point)))))

(defmacro mailsync-gnus--watching-quit (flag &rest body)
  "Evaluate BODY; set FLAG to non-nil if the user quits meanwhile.
Some of Gnus's functions catch a quit and return nil, as they do
when they failed."
  (declare (indent 1) (debug (symbolp body)))
  `(let ((signal-hook-function
          (lambda (symbol _data)
            (when (eq symbol 'quit) (setq ,flag t)))))
     ,@body))

;;;; What Gnus splits

(defmacro mailsync-gnus--noting-splits (history &rest body)
  "Evaluate BODY; set HISTORY to what Gnus split meanwhile, however it ends.
Gnus shows that to the user, so it is added to what there is."
  (declare (indent 1) (debug (symbolp body)))
  `(unwind-protect
       (let ((nnmail-split-history nil))
         (unwind-protect (progn ,@body)
           (setq ,history nnmail-split-history)))
     (setq nnmail-split-history (append ,history nnmail-split-history))))

(defun mailsync-gnus--split-destinations (history)
  "The groups to which mail went according to HISTORY, as Gnus keeps it."
  (delete-dups
   (cl-loop for message in history
            append (cl-loop for (group . _) in message
                            when (stringp group) collect group))))

;;;; One group, at once

(defun mailsync-gnus--check-group (group kinds)
  "Check GROUP and return its report.
KINDS say what happened in it.  This waits for the server where there is one."
  (mailsync-gnus--news-begin group)
  (let ((old (mailsync-gnus--unread group))
        (result 'quit)
        (quit nil))
    (setq result
          (condition-case err
              (mailsync-gnus--watching-quit quit
                (or (mailsync-gnus--quietly
                      (if (eq mailsync-gnus-check-method 'command)
                          (mailsync-gnus--check-by-command group)
                        (mailsync-gnus--check-by-parts group kinds)))
                    'quit))
            (error (error-message-string err))))
    (let ((partial (gethash group mailsync-gnus--partial)))
      (when partial
        (if (eq result 'partial)
            (unless (car partial) (setcar partial old))
          (remhash group mailsync-gnus--partial)))
      (list group (if quit 'quit result) (or (car partial) old)
            (mailsync-gnus--unread group)))))

(defun mailsync-gnus--check-by-command (group)
  "Check GROUP by Gnus's own command."
  (with-current-buffer gnus-group-buffer
    (let* ((drawn nil)
           (mark-active nil)
           (gnus-goto-next-group-when-activating nil)
           (gnus-group-marked (list group))
           ;; Once per batch, not once per group: see `mailsync-gnus-run-hooks'.
           (gnus-get-new-news-hook nil)
           (gnus-after-getting-new-news-hook nil)
           ;; The command does not say whether it failed; only a
           ;; group that it could check gets a new line.
           (gnus-group-update-group-hook
            (cons (lambda () (setq drawn t))
                  (ensure-list gnus-group-update-group-hook))))
      (gnus-group-get-new-news-this-group)
      (push group mailsync-gnus--drawn)
      (if drawn 'checked (mailsync-gnus--status-message group)))))

(defun mailsync-gnus--check-by-parts (group kinds)
  "Check GROUP by the parts of the command; KINDS say what happened in it."
  (let* ((info (mailsync-gnus--info group))
         (method (gnus-find-method-for-group group))
         (light (mailsync-gnus--arrivals-only-p method kinds))
         (start (float-time)))
    (if (and light (mailsync-gnus--look-ahead group method))
        'partial
      (mailsync-gnus--scan-and-count info method kinds start))))

(defun mailsync-gnus--scan-and-count (info method kinds start)
  "Scan the group of INFO on the server METHOD, and count.
KINDS say what happened in it; START is when the check began."
  (let ((group (car info))
        (light (mailsync-gnus--arrivals-only-p method kinds))
        (nnmaildir (eq (car method) 'nnmaildir))
        (most (cdr-safe (mailsync-gnus--active (car info))))
        (more nil)
        (left nil))
    ;; Emacs 28 would wait for the disk, for each new message.  What
    ;; nnmaildir writes here is only its cache.
    (let ((write-region-inhibit-fsync
           (or nnmaildir write-region-inhibit-fsync)))
      (if (not (mailsync-gnus--helping-scan group method light
                 (lambda () (setq more t))
                 (lambda () (gnus-activate-group group 'scan nil method))))
          (mailsync-gnus--status-message group)
        ;; Messages that only arrived are counted without it, and it
        ;; is the expensive part.
        (unless (or more light)
          (mailsync-gnus--look-at-flags info method)
          (when nnmaildir
            (mailsync-gnus--note-cost group (- (float-time) start))
            (setq left (mailsync-gnus--forget-vanished
                        info method
                        (if (equal most (cdr-safe (mailsync-gnus--active group))) kinds
                          (cl-adjoin 'new kinds))))))
        ;; The count shall be right at once.  nnmaildir keeps what is in
        ;; INFO until a flag changes, so they must not stay in it.
        (let ((read (mailsync-gnus--info-read info)))
          (mailsync-gnus--add-read info left)
          (mailsync-gnus--count-and-draw info)
          (when left (setf (nth 2 info) read)))
        (if (or more left) 'partial 'checked)))))

(defun mailsync-gnus--look-at-flags (info method)
  "Have the server METHOD say in INFO which flags messages have."
  (mailsync-gnus--helping-look (car info) method
    (lambda () (gnus-request-update-info info method))))

(defun mailsync-gnus--note-cost (group seconds)
  "Note that a look at GROUP in full took SECONDS.
One that finds that nothing has changed is cheap, but the next
one may not be."
  (puthash group
           (max seconds (/ (gethash group mailsync-gnus--costs 0) 2.0))
           mailsync-gnus--costs))

(defun mailsync-gnus--arrivals-only-p (method kinds)
  "Non-nil if METHOD need not be asked for flags after what KINDS say."
  (and (eq (car method) 'nnmaildir)
       (equal kinds '(new))))

;;;; What vanished

(defun mailsync-gnus--forget-vanished (info method kinds)
  "Have METHOD forget what vanished from INFO's group, by what KINDS say.
nnmaildir forgets a message when it is asked for the headers and
finds no file.  That takes time which grows with the group, so some
may be left for the next time: return these.  The group must have
been scanned, and INFO updated, just now."
  (when-let* ((some (or (memq 'gone kinds) (memq 'unknown kinds)
                        ;; What a syncer has sent it may rename, and then it is
                        ;; another one to nnmaildir.  A rename is told as flags.
                        (and (memq 'flags kinds) (memq 'new kinds) 'hardly)))
              (group (car info))
              (vanished (mailsync-gnus--vanished group method (eq some 'hardly)))
              (end (+ (float-time) mailsync-gnus--vanished-time)))
    (while (and vanished
                (progn
                  (gnus-retrieve-headers
                   (seq-take vanished mailsync-gnus--vanished-few) group)
                  (setq vanished
                        (nthcdr mailsync-gnus--vanished-few vanished))
                  (and (< (float-time) end) (not (input-pending-p))))))
    ;; The first of the group may be gone, or all.
    (gnus-activate-group group nil nil method)
    (mailsync-gnus--look-at-flags info method)
    vanished))

(defun mailsync-gnus--vanished (group method &optional hardly)
  "The messages of GROUP of METHOD whose files are gone, ascending.
HARDLY means that there will be none: they are counted first.
To nnmaildir they are unread, whatever they were.  A file's name
says which message it is.  The other way round, from each unread
message to its file, would take seconds in a large group."
  (require 'gnus-sum)
  (when-let* ((unread (gnus-list-of-unread-articles group))
              (directory (mailsync-gnus--nnmaildir-directory group method)))
    (let* ((missing (make-hash-table :test #'eql :size (length unread)))
           (name (mailsync-gnus--real-name group))
           (unseen nil)
           (seen nil)
           (look (lambda (file)
                   (remhash (nnmaildir-base-name-to-article-number
                             (substring file 0 (string-search ":" file))
                             name (nth 1 method))
                            missing)
                   (= 0 (hash-table-count missing)))))
      (dolist (number unread) (puthash number t missing))
      ;; Mostly these are all, and they are few.
      (dolist (file (mailsync-gnus--message-files directory))
        (if (string-match-p ":2,[A-Z]*S" file)
            (push file seen)
          (push file unseen)))
      (unless (and hardly (<= (length unread) (length unseen)))
        (cl-loop for file in (nconc unseen seen)
                 until (funcall look file))
        (sort (hash-table-keys missing) #'<)))))

(defun mailsync-gnus--message-files (directory)
  "The names of the files in the maildir DIRECTORY that are messages."
  (cl-loop for sub in '("new" "cur")
           nconc (directory-files (concat directory "/" sub) nil "\\`[^.]" t)))

(defun mailsync-gnus--count-and-draw (info &optional update)
  "Count the unread messages of the group of INFO and draw its line.
UPDATE is that of `gnus-get-unread-articles-in-group'."
  (let* ((group (car info))
         (old (mailsync-gnus--unread group)))
    (gnus-get-unread-articles-in-group info (mailsync-gnus--active group)
                                       update)
    (let ((new (mailsync-gnus--unread group)))
      (gnus-group-update-group
       group
       ;; A line that is not there appears only for new mail, and
       ;; where Gnus would list the group by itself.
       (not (and new (> new 0) (not (eql new old))
                 (<= (mailsync-gnus--level info) gnus-group-default-list-level)
                 (not (mailsync-gnus--folded-p group))))
       t)
      (push group mailsync-gnus--drawn)
      ;; It may have no line, which would tell by itself.
      (mailsync-gnus--total-soon))))

(defun mailsync-gnus--status-message (group)
  "Why GROUP could not be checked, in the words of its server."
  (let ((text (ignore-errors
                (gnus-status-message (gnus-find-method-for-group group)))))
    (if (and (stringp text) (not (string-blank-p text)))
        (string-trim text)
      "No such group")))

;;;; A group of groups

(defun mailsync-gnus--check-virtual (group)
  "Sum up what is known of the members of the nnvirtual GROUP; report."
  (let ((old (mailsync-gnus--unread group))
        (info (mailsync-gnus--info group))
        (method (gnus-find-method-for-group group)))
    (list group
          (condition-case err
              (or (mailsync-gnus--quietly
                    ;; The last argument: without talking to servers.
                    (if (not (gnus-activate-group group nil nil method t))
                        (mailsync-gnus--status-message group)
                      (gnus-request-update-info info method)
                      (mailsync-gnus--count-and-draw info)
                      'checked))
                  'quit)
            (error (error-message-string err)))
          old
          (mailsync-gnus--unread group))))

(provide 'mailsync-gnus-check)
;;; mailsync-gnus-check.el ends here
