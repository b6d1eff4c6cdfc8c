;;; mailsync-notify.el --- Tell the user of new mail  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Two functions for `mailsync-new-mail-functions':
;;
;;     (add-hook 'mailsync-new-mail-functions #'mailsync-notify-desktop)
;;     (add-hook 'mailsync-new-mail-functions #'mailsync-notify-echo)
;;
;; Here is what both have in common, and the echo area; the desktop is
;; mailsync-notify-desktop.el's business.
;;
;; What comes is collected in a digest, of bounded size, until
;; `mailsync-notify-delay' or a quiet time is over; then the digest is
;; shown.  There is one timer for each of the two, only while something
;; waits.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-options)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-moment)
(require 'mailsync-gnus-news)

;;;; Internal variables

(defconst mailsync-notify--groups-max 50
  "Groups that a digest names at most; those beyond are only counted.")

(defconst mailsync-notify--messages-max 5
  "Messages of a group that a digest has at most.")

(defconst mailsync-notify--lines-max 6
  "Lines of a notification.")

(defconst mailsync-notify--text-max 80
  "Characters of a subject, a sender or the name of a group that are shown.")

(defvar mailsync-notify--clock #'current-time
  "The function that says what time it is.")

(defvar mailsync-notify--waiting nil
  "What waits to be shown, an alist from function to a `mailsync-notify--wait'.
The function is called with a digest.")

(cl-defstruct (mailsync-notify--wait
               (:constructor mailsync-notify--make-wait)
               (:copier nil))
  "A digest that waits."
  digest timer
  (tries 0))           ; how often there was no good moment

(cl-defstruct (mailsync-notify--digest
               (:constructor mailsync-notify--make-digest)
               (:copier nil))
  "What came."
  groups               ; ((GROUP COUNT . MESSAGES) ...), the latest last
  (more 0))            ; messages in other groups

;;;; Declarations

(defvar gnus-newsrc-hashtb)
(defvar isearch-mode)
(defvar mailsync-gnus-update-summary)

(declare-function gnus-summary-buffer-name "gnus-sum" (group) t)

;;;; Digests

(defun mailsync-notify--add (digest group count messages)
  "Add COUNT messages of GROUP, described by MESSAGES, to DIGEST."
  (let ((entry (assoc group (mailsync-notify--digest-groups digest))))
    (cond
     (entry
      (setcdr entry
              (cons (+ count (cadr entry))
                    (seq-take (append messages (cddr entry))
                              mailsync-notify--messages-max))))
     ((nthcdr (1- mailsync-notify--groups-max)
              (mailsync-notify--digest-groups digest))
      (cl-incf (mailsync-notify--digest-more digest) count))
     (t
      (setf (mailsync-notify--digest-groups digest)
            (append (mailsync-notify--digest-groups digest)
                    (list `(,group
                            ,count
                            . ,(seq-take messages
                                         mailsync-notify--messages-max)))))))))

(defun mailsync-notify--merge (earlier later)
  "The digest of what is in EARLIER, which may be nil, and in LATER."
  (let ((digest (mailsync-notify--make-digest)))
    (dolist (part (list earlier later))
      (when part
        (cl-incf (mailsync-notify--digest-more digest)
                 (mailsync-notify--digest-more part))
        (pcase-dolist (`(,group ,count . ,messages)
                       (mailsync-notify--digest-groups part))
          (mailsync-notify--add digest group count messages))))
    digest))

(defun mailsync-notify--unread (group)
  "How many messages Gnus has for unread in GROUP, nil if that is not known."
  (when (boundp 'gnus-newsrc-hashtb)
    (let ((unread (mailsync-gnus--unread group)))
      (and (numberp unread) unread))))

(defun mailsync-notify--still (digest)
  "What in DIGEST is unread still."
  (let ((still (mailsync-notify--make-digest
                :more (mailsync-notify--digest-more digest))))
    (pcase-dolist (`(,group ,count . ,messages)
                   (mailsync-notify--digest-groups digest))
      (let ((count (min count (or (mailsync-notify--unread group) count))))
        (when (> count 0)
          (mailsync-notify--add still group count messages))))
    still))

(defun mailsync-notify--empty-p (digest)
  "Non-nil if there is nothing in DIGEST."
  (and (null (mailsync-notify--digest-groups digest))
       (zerop (mailsync-notify--digest-more digest))))

;;;; What is told, and when

(defun mailsync-notify--muted-p (group)
  "Non-nil if GROUP is in `mailsync-notify-muted-groups'."
  (let ((case-fold-search nil)
        (names (list group (mailsync-gnus--real-name group))))
    (cl-some (lambda (glob)
               (let ((regexp (concat "\\`"
                                     (mapconcat #'regexp-quote
                                                (split-string glob "\\*")
                                                ;; Any character at all.
                                                "[^z-a]*")
                                     "\\'")))
                 (cl-some (lambda (name) (string-match-p regexp name)) names)))
             mailsync-notify-muted-groups)))

(defun mailsync-notify--wanted-p (group)
  "Non-nil if the user wants to be told of new mail in GROUP."
  (let ((info (and (boundp 'gnus-newsrc-hashtb) (mailsync-gnus--info group))))
    (and (or (null info)
             (<= (mailsync-gnus--level info)
                 (mailsync--natural 'mailsync-notify-level)))
         (not (mailsync-notify--muted-p group)))))

(defun mailsync-notify--minute (text)
  "The minute of the day that TEXT, \"HH:MM\", stands for; nil if it is none."
  (when (and (stringp text)
             (string-match "\\`\\([0-9]\\{1,2\\}\\):\\([0-9][0-9]\\)\\'" text))
    (let ((hour (string-to-number (match-string 1 text)))
          (minute (string-to-number (match-string 2 text))))
      (and (<= hour 24) (< minute 60)
           (<= (+ (* 60 hour) minute) 1440)
           (+ (* 60 hour) minute)))))

(defun mailsync-notify--quiet-for ()
  "Seconds until the quiet time is over, nil if it is not quiet now.
A change of the clock is not taken into account: when the time has
passed, it is asked again."
  (let* ((time (decode-time (funcall mailsync-notify--clock)))
         (now (+ (* 3600 (nth 2 time)) (* 60 (nth 1 time))
                 (floor (float-time (nth 0 time)))))
         (longest nil))
    (dolist (quiet mailsync-notify-quiet-times)
      (let ((from (mailsync-notify--minute (car-safe quiet)))
            (to (mailsync-notify--minute (cdr-safe quiet))))
        (if (not (and from to))
            (mailsync--once (list 'notify-quiet quiet) 'error
                            "`mailsync-notify-quiet-times' has %S, \
which is not like (\"22:00\" . \"07:00\")" quiet)
          (let* ((from (* 60 from))
                 (to (* 60 to))
                 ;; The same time twice is the whole day.
                 (length (let ((length (mod (- to from) 86400)))
                           (if (zerop length) 86400 length)))
                 (since (mod (- now from) 86400)))
            (when (< since length)
              (setq longest (max (or longest 0) (- length since))))))))
    longest))

(defun mailsync-notify--collect (show changes)
  "Have SHOW called, when it is time, with a digest of CHANGES."
  (let ((digest (mailsync-notify--make-digest)))
    (dolist (change changes)
      (pcase-dolist (`(,group ,old ,new) (plist-get change :groups))
        (when (mailsync-notify--wanted-p group)
          (mailsync-notify--add
           digest group
           (or (cdr (assoc group (plist-get change :arrived)))
               (max 1 (- (or new 0) (or old 0))))
           (cl-remove-if-not (lambda (message)
                               (equal (plist-get message :group) group))
                             (plist-get change :messages))))))
    (unless (mailsync-notify--empty-p digest)
      (mailsync-notify--put-off show digest (mailsync--seconds 'mailsync-notify-delay)))))

(defun mailsync-notify--put-off (show digest seconds &optional tries)
  "Have SHOW called with DIGEST in SECONDS, or when it is quiet no more.
TRIES is how often there was no good moment.  If something waits
already, it is told together, when that is due."
  (let ((wait (cdr (assq show mailsync-notify--waiting))))
    (unless wait
      (setq wait (mailsync-notify--make-wait))
      (setf (mailsync-notify--wait-tries wait) (or tries 0)
            (mailsync-notify--wait-timer wait)
            (run-at-time (max seconds (or (mailsync-notify--quiet-for) 0)) nil
                         #'mailsync-notify--due show))
      (push (cons show wait) mailsync-notify--waiting))
    (setf (mailsync-notify--wait-digest wait)
          (mailsync-notify--merge (mailsync-notify--wait-digest wait) digest))))

(defun mailsync-notify--due (show)
  "Show by SHOW what waits for that, unless it is quiet now."
  (let* ((wait (cdr (assq show mailsync-notify--waiting)))
         (digest (and wait (mailsync-notify--still
                            (mailsync-notify--wait-digest wait)))))
    (setq mailsync-notify--waiting
          (assq-delete-all show mailsync-notify--waiting))
    (cond
     ((or (null digest) (mailsync-notify--empty-p digest)))
     ((mailsync-notify--quiet-for)
      (mailsync-notify--put-off show digest 0))
     (t
      (condition-case err
          (funcall show digest (mailsync-notify--wait-tries wait))
        (error
         (mailsync--once (list 'notify show) 'error
                         "cannot tell of new mail: %s"
                         (error-message-string err))))))))

;;;; In words

(defun mailsync-notify--clean (text)
  "TEXT, which anybody may have written, as it may be shown."
  (mailsync-gnus-news-clean text mailsync-notify--text-max))

(defun mailsync-notify--name (group)
  "The name of GROUP as it is shown."
  (mailsync-notify--clean (mailsync-gnus--real-name group)))

(defun mailsync-notify--describe (message separator)
  "Sender and subject of MESSAGE with SEPARATOR between, nil if not known."
  (let ((sender (mailsync-notify--clean (or (plist-get message :sender) "")))
        (subject (mailsync-notify--clean (or (plist-get message :subject) ""))))
    (unless (and (string-empty-p sender) (string-empty-p subject))
      (concat sender
              (unless (or (string-empty-p sender) (string-empty-p subject))
                separator)
              subject))))

(defun mailsync-notify--group-line (entry)
  "One line for ENTRY of a digest."
  (pcase-let* ((`(,group ,count . ,messages) entry)
               (text (and (= count 1)
                          (mailsync-notify--describe (car messages) ", "))))
    (concat (mailsync-notify--name group)
            (cond (text (concat ": " text))
                  ((> count 1) (format " (%d)" count))))))

(defun mailsync-notify--total (digest)
  "The number of messages in DIGEST."
  (apply #'+ (mailsync-notify--digest-more digest)
         (mapcar #'cadr (mailsync-notify--digest-groups digest))))

(defun mailsync-notify--echo-text (digest width)
  "DIGEST in a line of WIDTH characters."
  (let* ((more (mailsync-notify--digest-more digest))
         (line (concat "Mail: "
                       (mapconcat #'mailsync-notify--group-line
                                  (mailsync-notify--digest-groups digest) ", ")
                       (when (> more 0) (format ", others (%d)" more)))))
    (truncate-string-to-width line width nil nil "…")))

(defun mailsync-notify--shorten (lines)
  "LINES, or the first of them and how many there are besides."
  (if (<= (length lines) mailsync-notify--lines-max)
      lines
    (append (seq-take lines (1- mailsync-notify--lines-max))
            (list (format "and %d more" (- (length lines)
                                           (1- mailsync-notify--lines-max)))))))

(defun mailsync-notify--texts (digest)
  "A cons of a title and a list of lines, for DIGEST."
  (let ((groups (mailsync-notify--digest-groups digest))
        (total (mailsync-notify--total digest)))
    (if (and (null (cdr groups)) (zerop (mailsync-notify--digest-more digest)))
        (pcase-let* ((`(,group ,count . ,messages) (car groups))
                     (lines (delq nil
                                  (mapcar (lambda (message)
                                            (mailsync-notify--describe message ": "))
                                          messages))))
          (cons (concat "Mail: " (mailsync-notify--name group)
                        (when (> count 1) (format " (%d)" count)))
                (append lines
                        (when (and lines (> count (length lines)))
                          (list (format "and %d more"
                                        (- count (length lines))))))))
      (cons (format "Mail: %d messages" total)
            (mailsync-notify--shorten
             (append (mapcar #'mailsync-notify--group-line groups)
                     (when (> (mailsync-notify--digest-more digest) 0)
                       (list (format "others (%d)"
                                     (mailsync-notify--digest-more digest))))))))))

(defun mailsync-notify--escape (text)
  "TEXT without markup, for a server that understands some."
  (replace-regexp-in-string
   "[&<>]"
   (lambda (char) (pcase char ("&" "&amp;") ("<" "&lt;") (_ "&gt;")))
   text t t))

;;;; The echo area

(defvar mailsync-notify--echoed nil
  "What was said last in the echo area, (TEXT . DIGEST).")

(defvar mailsync-notify--in-the-way nil
  "Somebody else's message in the echo area, as it was at the last attempt.")

(defun mailsync-notify--echo-busy-p ()
  "Non-nil if something is in the echo area that must not be covered.
An old message may be, which stays until the user touches a key."
  (let ((message (current-message)))
    (or (> (minibuffer-depth) 0)
        cursor-in-echo-area
        (bound-and-true-p isearch-mode)
        executing-kbd-macro
        defining-kbd-macro
        overriding-terminal-local-map
        (input-pending-p)
        (not (mailsync-gnus--clean-stack-p))
        (and message
             (not (equal message (car mailsync-notify--echoed)))
             (not (equal message mailsync-notify--in-the-way))
             (progn (setq mailsync-notify--in-the-way message) t)))))

(defun mailsync-notify--echo (digest &optional tries)
  "Say in the echo area what DIGEST has.
If it is in use, do so later; TRIES is how often that was so."
  (if (mailsync-notify--echo-busy-p)
      (let ((tries (1+ (or tries 0))))
        (mailsync-notify--put-off #'mailsync-notify--echo digest
                                  (min 10 (* 1.5 (expt 2 (min tries 3))))
                                  tries))
    (let* ((news (mailsync-notify--out-of-sight digest))
           (grown (and (current-message)
                       (equal (current-message)
                              (car mailsync-notify--echoed))))
           (digest (if grown
                       (mailsync-notify--merge (cdr mailsync-notify--echoed)
                                               news)
                     news))
           (width (1- (frame-width)))
           (text (mailsync-notify--echo-text digest width)))
      (setq mailsync-notify--in-the-way nil)
      (unless (mailsync-notify--empty-p news)
        (setq mailsync-notify--echoed (cons text digest))
        (if (not grown)
            (message "%s" text)
          ;; In *Messages* each message is told once.
          (let ((inhibit-message t))
            (message "%s" (mailsync-notify--echo-text news width)))
          (let ((message-log-max nil))
            (message "%s" text)))))))

(defun mailsync-notify--out-of-sight (digest)
  "What in DIGEST the user does not see coming.
Into a *Summary* that is to be seen it comes by itself, or that says so."
  (if (not (bound-and-true-p mailsync-gnus-update-summary))
      digest
    (let ((rest (mailsync-notify--make-digest
                 :more (mailsync-notify--digest-more digest))))
      (pcase-dolist (`(,group ,count . ,messages)
                     (mailsync-notify--digest-groups digest))
        (unless (get-buffer-window (gnus-summary-buffer-name group) 'visible)
          (mailsync-notify--add rest group count messages)))
      rest)))

;;;###autoload
(defun mailsync-notify-echo (_account changes)
  "Say in the echo area what CHANGES brought.
For `mailsync-new-mail-functions'."
  (mailsync-notify--collect #'mailsync-notify--echo changes))

(provide 'mailsync-notify)
;;; mailsync-notify.el ends here
